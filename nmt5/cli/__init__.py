"""The `nmt5` command. The only package that knows gin and command-line flags."""

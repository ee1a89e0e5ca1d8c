"""Where text comes from. A source streams, names the place of every fault, counts what it drops."""

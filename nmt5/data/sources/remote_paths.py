"""Paths on other machines (`gs://`, `s3://`, `az://`, `hf://`), opened by etils.epath's drivers."""

from collections.abc import Iterator
import contextlib

from nmt5.core.errors import StorageError, UserError

SCHEMES = ("gs", "s3", "az", "hf")


@contextlib.contextmanager
def remote_faults(path: str) -> Iterator[None]:
    """Turns whatever a driver raises about a remote path into a `StorageError` that names it.

    Faults of local paths, and `OSError`s that say what is wrong, pass unchanged.
    """
    scheme, mark, _ = path.partition("://")
    if mark and scheme not in SCHEMES:
        raise StorageError(
            f"{path}: unknown scheme '{scheme}://', expected a local path or one of "
            f"{', '.join(f'{known}://' for known in SCHEMES)}; or copy the files to this machine"
        )
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # drivers of four kinds of storage, each with errors of its own
        if not mark or (isinstance(error, OSError) and error.errno):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise StorageError(
            f"{path}: it cannot be reached ({type(error).__name__}: {reason}); check the address, "
            "install fsspec's driver (gcsfs for gs://, s3fs for s3://), set EPATH_USE_TF=0 so that "
            "it is taken instead of TensorFlow's, and sign in; or copy the files to this machine"
        ) from error

"""Where a benchmark's original files are: in a directory of its name, below one root for all.

The root is `TaskConfig.data` of a command, or the environment variable NMT5_BENCHMARKS, which is
all that a registered SeqIO task can know.
"""

import os

from etils import epath

BENCHMARKS_VARIABLE = "NMT5_BENCHMARKS"

# Directories are often named after the data set, of which a benchmark is one part or view.
_OTHER_NAMES = {
    "xsid_intent": ("xsid",),
    "xsid_slots": ("xsid",),
    "ud_pos": ("ud",),
    "mlqa": ("mlqa_dev",),
    "ntrex": ("ntrex128",),
    "copa": ("COPA",),
    "flores": ("flores200_dataset", "flores_plus"),
    "opus100": ("opus-100-corpus/v1.0",),
    "wikiann_ner": ("wikiann",),
    "wikiann_ner_unseen": ("wikiann_ner", "wikiann"),
    "multi_nli": ("xnli",),
    "tatoeba": ("tatoeba_retrieval",),
    "bucc": ("bucc2018",),
}


def find_directory(name: str, *, root: str = "") -> str:
    """Returns the directory of a benchmark's files, or "" if there is none or no root.

    Args:
      name: of the benchmark.
      root: where to look; "" takes NMT5_BENCHMARKS.
    """
    root = root or os.environ.get(BENCHMARKS_VARIABLE, "")
    if not root:
        return ""
    for folder in (name, *_OTHER_NAMES.get(name, ())):
        path = epath.Path(root).expanduser() / folder
        if path.is_dir():
            return os.fspath(path)
    return ""

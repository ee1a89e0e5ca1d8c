"""The registrations that ship: which there are, and what importing them costs and touches."""

import subprocess
import sys

CODE = """
import sys, time
import seqio
begin = time.perf_counter()
import mixtures
seconds = time.perf_counter() - begin
assert seconds < 2, seconds
assert not {"django", "humanize", "sacrebleu", "t5"} & set(sys.modules)
from nmt5.data.sources.gettext import LANGUAGES
names = set(seqio.TaskRegistry.names())
assert {"gettext.mlm.en", "gettext.mlm.sr_Latn"} <= names
assert {"gettext.nmt.en.pt_BR", "gettext.nmt.pt_BR.en"} <= names
assert len([name for name in names if name.startswith("gettext.")]) == 3 * len(LANGUAGES) + 1
from nmt5.data.registry import corpora_of, mixture_definition
assert len(corpora_of("demo_mlm_nmt")) == 2 * len(LANGUAGES) + 1
assert set(mixture_definition("demo_mlm_nmt").shares()) == {"span_corruption", "nmt"}
assert mixture_definition("demo_mlm").shares() == {"span_corruption": 1.0}
"""


def test_importing_registers_without_reading_text(request):
    # In a process of its own: SeqIO's registries are global.
    root = request.config.rootpath
    subprocess.run([sys.executable, "-c", CODE], check=True, cwd=root, timeout=240)

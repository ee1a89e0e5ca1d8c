"""The registrations that ship: which there are, and what importing them costs and touches."""

import subprocess
import sys

CODE = """
import sys, time
import seqio
import nmt5.data.registry
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
begin = time.perf_counter()
import mixtures
seconds = time.perf_counter() - begin
assert seconds < 2, seconds
# Modules and their caches, and nothing else: no text, no vocabulary, no data set.
assert not [path for path in opened if not path.rstrip("0123456789.").endswith((".py", ".pyc"))]
assert not {"django", "humanize", "sacrebleu", "t5"} & set(sys.modules)
from nmt5.data.sources.gettext import LANGUAGES
names = set(seqio.TaskRegistry.names())
assert {"gettext.mlm.en", "gettext.mlm.sr_Latn"} <= names
assert {"gettext.nmt.en.pt_BR", "gettext.nmt.pt_BR.en"} <= names
assert len([name for name in names if name.startswith("gettext.")]) == 3 * len(LANGUAGES) + 1
from nmt5.data.registry import corpora_of, mixture_definition
assert len(corpora_of("demo_mlm_nmt")) == 2 * len(LANGUAGES) + 1
assert set(mixture_definition("demo_mlm_nmt").group_shares()) == {"span_corruption", "nmt"}
assert mixture_definition("demo_mlm").group_shares() == {"span_corruption": 1.0}
assert len([name for name in names if name.startswith("mc4.mlm.")]) == 101
objectives = ("tlm", "nmt", "denoised_nmt", "denoised_nmt_lm")
for objective in objectives:
    assert len([name for name in names if name.startswith(f"opus100.{objective}.")]) == 198
    for mixture, share in ((f"mlm_{objective}", 0.1), (f"mlm_{objective}_50", 0.5)):
        assert len(corpora_of(mixture)) == 101 + 99
        assert mixture_definition(mixture).group_shares() == {
            "span_corruption": 1 - share, objective: share
        }
assert len(corpora_of("mlm")) == 101
zero_shot = mixture_definition("opus100_zero_shot")
assert len(zero_shot.tasks) == 30 and len(corpora_of("opus100_zero_shot")) == 15
assert {task.corpus.source.splits() for task in zero_shot.tasks} == {("test",)}
assert len(corpora_of("mlm_nmt_many_to_many")) == 101 + 15
"""


def test_importing_registers_without_reading_text(request):
    # In a process of its own: SeqIO's registries are global.
    root = request.config.rootpath
    subprocess.run([sys.executable, "-c", CODE], check=True, cwd=root, timeout=240)

"""SeqIO mixtures over the tasks of `tasks.py`, and the benchmarks. Importing registers all."""

from nmt5.data.registry import add_mixture
from nmt5.evaluation.benchmarks.registration import add_benchmarks
from tasks import CCMATRIX_NMT, GETTEXT_MLM, GETTEXT_NMT, MC4_MLM, OPUS100, OPUS100_ZERO_SHOT

# The paper's: mC4 alone, and mC4 with one parallel objective on OPUS-100 that supplies 10% (or, in
# its comparison of shares, 50%) of the encoder tokens.
add_mixture("mlm", MC4_MLM, alpha=0.3)
for _objective, _tasks in OPUS100.items():
    add_mixture(f"mlm_{_objective}", MC4_MLM + _tasks, alpha=0.3, parallel_share=0.1)
    add_mixture(f"mlm_{_objective}_50", MC4_MLM + _tasks, alpha=0.3, parallel_share=0.5)

# To evaluate on, not to train: it has test sets only.
add_mixture("opus100_zero_shot", OPUS100_ZERO_SHOT)

# Many to many: 15 pairs of six languages in both directions beside the monolingual text of all.
add_mixture("mlm_nmt_many_to_many", MC4_MLM + CCMATRIX_NMT, alpha=0.3, parallel_share=0.1)

add_mixture("demo_mlm", GETTEXT_MLM, alpha=0.3)
add_mixture("demo_mlm_nmt", GETTEXT_MLM + GETTEXT_NMT, alpha=0.3, parallel_share=0.1)

# To fine-tune and evaluate on: `xnli_zeroshot`, `xnli_eval.de`, ... from the original files below
# NMT5_BENCHMARKS, or from TFDS.
BENCHMARKS = add_benchmarks()

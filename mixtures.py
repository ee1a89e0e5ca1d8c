"""SeqIO mixtures over the tasks of `tasks.py`. Importing registers both."""

from nmt5.data.registry import add_mixture
from tasks import GETTEXT_MLM, GETTEXT_NMT

add_mixture("demo_mlm", GETTEXT_MLM, alpha=0.3)
add_mixture("demo_mlm_nmt", GETTEXT_MLM + GETTEXT_NMT, alpha=0.3, parallel_share=0.1)

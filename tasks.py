"""SeqIO tasks. Importing registers them; text and vocabulary are looked for on first use."""

from nmt5.data.languages import task_suffix
from nmt5.data.registry import add_parallel_task, add_span_corruption_task
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.gettext import ENGLISH, LANGUAGES, GettextSource

# --- Messages of installed programs (extra `demo`): text in about a hundred languages ------------

GETTEXT_MLM = tuple(
    add_span_corruption_task(
        f"gettext.mlm.{task_suffix(language)}",
        Corpus(name=f"gettext.{language}", source=GettextSource(languages=(language,))),
    ).name
    for language in (ENGLISH, *LANGUAGES)
)

GETTEXT_NMT = tuple(
    add_parallel_task(
        f"gettext.nmt.{task_suffix(source)}.{task_suffix(target)}",
        Corpus(
            name=f"gettext.{ENGLISH}-{language}",
            source=GettextSource(languages=(ENGLISH, language)),
        ),
        source_language=source,
        target_language=target,
    ).name
    for language in LANGUAGES
    for source, target in ((ENGLISH, language), (language, ENGLISH))
)

"""Somebody else's SeqIO tasks as members of this project's mixtures."""

from nmt5.data.definitions import TaskDefinition
from nmt5.data.locations import find_task_lengths
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.seqio_task import SIDES, SeqioTaskSource, corpus_name


def ready_made_task(name: str) -> TaskDefinition:
    """Returns the definition of a registered SeqIO task with preprocessors of its own.

    `prepare` takes its examples out of SeqIO, for the lengths that `locations` has set.
    """
    lengths = find_task_lengths()
    source = SeqioTaskSource(task=name, lengths=lengths)
    return TaskDefinition(
        name=name,
        corpus=Corpus(name=corpus_name(name), source=source),
        objective="ready_made",
        languages=SIDES,
        settings={"made_for": lengths},
        code_template=None,
    )

"""Tasks whose answer is plain text: parses, summaries, translations."""

from nmt5.evaluation.benchmarks.records import Article, Parse, Translation
from nmt5.evaluation.text_to_answer.text_example import TextExample, one_answer


def parse_text(record: Parse) -> TextExample:
    """Returns an utterance with its decoupled parse; chosen here, nmT5 does not give its form.

    >>> from nmt5.evaluation.benchmarks.records import Parse
    >>> text = parse_text(Parse(id="1", utterance="wake me", parse="[IN:CREATE_ALARM ]"))
    >>> text.inputs, text.targets
    ('mtop: wake me', '[IN:CREATE_ALARM ]')
    """
    return one_answer(record.id, f"mtop: {record.utterance}", " ".join(record.parse.split()))


def summary_text(record: Article) -> TextExample:
    """Returns a document and its English summary, without a prefix, as in byt5's WikiLingua.

    Source: https://github.com/google-research/byt5/blob/7d4efddd/byt5/tasks.py
    """
    return one_answer(record.id, record.document, record.summary)


def translation_text(record: Translation) -> TextExample:
    """Returns a sentence in the form of the NMT objective: the target language's code, the source.

    >>> from nmt5.evaluation.benchmarks.records import Translation
    >>> one = Translation(id="1", source="Good day", target="Bonjour", language="fr")
    >>> translation_text(one).inputs
    '<2fr> Good day'
    """
    return one_answer(record.id, f"<2{record.language}> {record.source}", record.target)

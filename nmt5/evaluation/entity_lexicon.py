"""Entities found by looking them up in a list of the training entities: what a model must beat.

No context is read: every occurrence of the words of a training entity is taken, longest first, with
the type it had most often, if it was an entity more often than not. In another language only names
that are written alike are found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
import dataclasses

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.records import TaggedSentence
from nmt5.evaluation.tag_spans import spans_of_tags
from nmt5.evaluation.text_to_answer.entity_text import Entity, write_entities


@dataclasses.dataclass(frozen=True)
class EntityLexicon:
    """Words -> type."""

    types: dict[tuple[str, ...], str]
    longest: int

    def find(self, tokens: Sequence[str]) -> list[Entity]:
        """Returns the entities of a sentence, left to right, the longest at each place.

        >>> lexicon = EntityLexicon({("New", "York"): "LOC", ("York",): "PER"}, 2)
        >>> lexicon.find(["York", ",", "New", "York"])
        [Entity(label='PER', text='York'), Entity(label='LOC', text='New York')]
        """
        found, start = [], 0
        while start < len(tokens):
            for length in range(min(self.longest, len(tokens) - start), 0, -1):
                words = tuple(tokens[start : start + length])
                if words in self.types:
                    found.append(Entity(self.types[words], " ".join(words)))
                    start += length
                    break
            else:
                start += 1
        return found

    def predict(self, sentence: TaggedSentence) -> str:
        """Returns the entities as a model would write them."""
        return write_entities(self.find(sentence.tokens))


def learn_lexicon(sentences: Iterable[TaggedSentence]) -> EntityLexicon:
    """Returns the lexicon of a training split.

    Args:
      sentences: the training sentences.

    Raises:
      DataError: no sentence has an entity.
    """
    sentences = list(sentences)
    types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        for span in spans_of_tags(sentence.tags):
            types[sentence.tokens[span.start : span.end]][span.label] += 1
    if not types:
        raise DataError("entity lexicon: no training sentence has an entity; use another split")
    longest = max(map(len, types))
    occurrences: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        for start in range(len(sentence.tokens)):
            for end in range(start + 1, min(start + longest, len(sentence.tokens)) + 1):
                words = sentence.tokens[start:end]
                if words in types:
                    occurrences[words] += 1
    kept = {
        words: found.most_common(1)[0][0]
        for words, found in types.items()
        if 2 * found.total() >= occurrences[words]
    }
    return EntityLexicon(kept, longest)

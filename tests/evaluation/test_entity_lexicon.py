import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.records import TaggedSentence
from nmt5.evaluation.entity_lexicon import learn_lexicon


def sentence(text, tags):
    return TaggedSentence(id="1", tokens=tuple(text.split()), tags=tuple(tags.split()))


def test_the_usual_type_of_what_is_usually_an_entity():
    lexicon = learn_lexicon(
        [
            sentence("Rio de Janeiro", "B-LOC I-LOC I-LOC"),
            sentence("Porto", "B-LOC"),
            sentence("Porto", "B-ORG"),
            sentence("Porto", "B-ORG"),
            sentence("a de b de", "O O O O"),
            sentence("de", "B-PER"),
        ]
    )
    assert lexicon.predict(sentence("de Porto a Rio de Janeiro Rio", "O O O O O O O")) == (
        "ORG: Porto $$ LOC: Rio de Janeiro"
    )


def test_nothing_to_learn():
    with pytest.raises(DataError, match="no training sentence has an entity"):
        learn_lexicon([sentence("a", "O")])

from hypothesis import example, given
from hypothesis import strategies as st
import pytest

from nmt5.evaluation.benchmarks.records import (
    Article,
    Choice,
    Question,
    SentencePair,
    TaggedSentence,
    Translation,
)
from nmt5.evaluation.text_to_answer.entity_text import (
    Entity,
    entity_text,
    parse_entities,
    slot_text,
    write_entities,
)
from nmt5.evaluation.text_to_answer.free_text import summary_text, translation_text
from nmt5.evaluation.text_to_answer.label_text import (
    INFERENCE_LABELS,
    choice_text,
    inference_text,
    intent_text,
    normal_label,
    paraphrase_text,
    parse_label,
)
from nmt5.evaluation.text_to_answer.question_text import pad_punctuation, question_text
from nmt5.evaluation.text_to_answer.word_tag_text import parse_word_tags, word_tag_text


class TestQuestions:
    def test_marks_and_underscores_stay_with_their_letters(self):
        # A combining accent, a Devanagari vowel sign, Thai, and a space that RE2 does not know.
        assert pad_punctuation("e\u0301_x हिन्दी ไทย") == "e\u0301_x हिन्दी ไทย"
        assert pad_punctuation("a\u00a0b，c\td") == "a \u00a0 b ， c d"

    def test_all_answers_are_references(self):
        one = Question(id="7", question="q", context="c\n d", answers=("b.", "a"))
        text = question_text(one)
        assert (text.targets, text.references) == ("b . ", ("b . ", "a"))
        assert text.inputs == "question: q context: c d"


class TestEntities:
    words = st.text(st.sampled_from("ab:$\\ é中"), min_size=1).filter(str.strip)
    entities = st.lists(st.builds(Entity, st.sampled_from(["PER", "weather/attribute"]), words))

    @given(entities)
    @example([Entity("PER", "a $$ PER: b"), Entity("PER", "$$$ \\$ $")])
    def test_every_list_of_entities_comes_back(self, entities):
        parsed = parse_entities(write_entities(entities), ["PER", "weather/attribute"])
        expected = [Entity(one.label, " ".join(one.text.split())) for one in entities]
        assert list(parsed.entities) == expected
        assert parsed.unparseable == 0

    def test_usual_entities_are_written_as_mt5_writes_them(self):
        entities = [Entity("ORG", "A$ AP: x"), Entity("PER", "b"), Entity("PER", "b")]
        assert write_entities(entities) == "ORG: A$ AP: x $$ PER: b $$ PER: b"
        assert write_entities([]) == ""

    @pytest.mark.parametrize(
        ("text", "number", "unparseable"),
        [
            ("", 0, 0),
            ("   ", 0, 0),
            ("nothing", 0, 1),
            ("PER: a $$", 1, 1),
            ("PER: a $$ MISC: b", 1, 1),
            ("PER:a $$ : b $$ PER:", 1, 2),
            ("<extra_id_0> PER: a", 0, 1),
        ],
    )
    def test_what_cannot_be_read_is_counted(self, text, number, unparseable):
        parsed = parse_entities(text, ["PER"])
        assert (len(parsed.entities), parsed.unparseable) == (number, unparseable)

    def test_adjacent_entities_of_one_type_stay_apart(self):
        tags = ("B-PER", "B-PER", "I-PER")
        one = TaggedSentence(id="1", tokens=("a", "b", "c"), tags=tags)
        assert entity_text(one).targets == "PER: a $$ PER: b c"
        assert slot_text(one).inputs == "slots: a b c"


class TestWordTags:
    def test_numbers_of_tags_must_agree(self):
        assert parse_word_tags("NOUN X", count=2, labels=("NOUN", "X")) == ("NOUN", "X")
        assert parse_word_tags("NOUN", count=2, labels=("NOUN", "X")) is None
        assert parse_word_tags("NOUN Y", count=2, labels=("NOUN", "X")) is None

    def test_blanks_in_tokens_do_not_change_their_number(self):
        one = TaggedSentence(id="1", tokens=("a b", "c"), tags=("X", "X"))
        assert len(word_tag_text(one).inputs.split()) == 3


def test_labels():
    pair = SentencePair(id="1", first="a  b", second="c", label=1)
    assert paraphrase_text(pair).inputs == "paws sentence1: a  b sentence2: c"
    assert paraphrase_text(pair).targets == "paraphrase"
    assert inference_text(pair).targets == "1"
    assert [parse_label(text, INFERENCE_LABELS) for text in ("0", "2 ", "3", "", "01")] == [
        *(0, 2, None, None, None)
    ]
    choice = Choice(id="1", premise="p", choice1="a", choice2="b", question="cause", label=1)
    text = choice_text(choice)
    assert text.inputs == "copa choice1: a choice2: b premise: p question: cause"
    assert text.targets == "choice2"


def test_intents():
    one = TaggedSentence(id="1", tokens=("wake", "me"), tags=("O", "O"), intent="alarm/set_alarm")
    text = intent_text(one)
    assert (text.inputs, text.targets) == ("intent: wake me", "alarm/set_alarm")


def test_labels_are_read_as_a_vocabulary_writes_them():
    """Sentencepiece's NFKC and single blanks stand on one side, the file's text on the other."""
    assert normal_label("\uff27o  \uff11 ") == "Go 1"
    assert parse_label("\uff11", ("0", "1")) == 1


def test_free_text():
    assert summary_text(Article(id="1", document="d", summary="s", article="u")).inputs == "d"
    one = Translation(id="1", source="a", target="b", language="zh-Hant")
    assert translation_text(one).inputs == "<2zh-Hant> a"

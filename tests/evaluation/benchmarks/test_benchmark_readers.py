"""The readers on small files of each format; test_real_benchmarks.py has real ones."""

from collections import Counter
import json
import pickle

import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.article_files import hold_out, limited, read_wikilingua
from nmt5.evaluation.benchmarks.bitext_files import read_aligned, read_bucc, read_tatoeba
from nmt5.evaluation.benchmarks.choice_files import read_xcopa
from nmt5.evaluation.benchmarks.parse_files import read_mtop
from nmt5.evaluation.benchmarks.question_files import read_afriqa, read_squad
from nmt5.evaluation.benchmarks.sentence_pair_files import read_inference, read_paraphrases
from nmt5.evaluation.benchmarks.tagged_files import (
    read_conllu,
    read_entities,
    read_word_tags,
    read_xsid,
    read_xsid_training,
)


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_file


def squad(context="Die Tür ist rot.", answers=(("rot", 12),)):
    answers = [{"text": text, "answer_start": start} for text, start in answers]
    question = {"id": "german-1", "question": "Welche Farbe?", "answers": answers}
    return {"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]}


class TestQuestions:
    def test_squad(self, write):
        path = write("a.json", json.dumps(squad()))
        (question,) = read_squad(path, dropped=Counter())
        assert (question.question, question.answers) == ("Welche Farbe?", ("rot",))

    def test_other_languages_are_left_out_and_counted(self, write):
        dropped = Counter()
        path = write("a.json", json.dumps(squad()))
        assert not list(read_squad(path, id_prefix="finnish", dropped=dropped))
        assert dropped == {"other language": 1}

    @pytest.mark.parametrize(
        ("answers", "message"),
        [
            ((("blau", 12),), "the answer 'blau' is not in its context"),
            ((("rot", 11),), "answer_start 11 points to ' ro', the answer is 'rot'"),
            ((), "no answer, expected one or more"),
        ],
    )
    def test_answers_must_stand_in_their_context(self, write, answers, message):
        path = write("a.json", json.dumps(squad(answers=answers)))
        with pytest.raises(DataError) as error:
            list(read_squad(path, dropped=Counter()))
        place = f"{path}: data[0].paragraphs[0].qas[0], question 'german-1': "
        assert str(error.value).startswith(place + message)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"data": None}, "top level: data is NoneType, expected a list"),
            ({"data": [{"paragraphs": {}}]}, r"data\[0\]: paragraphs is dict, expected a list"),
            (
                {"data": [{"paragraphs": [{"context": "c", "qas": 1}]}]},
                r"data\[0\].paragraphs\[0\]: qas is int, expected a list",
            ),
            (squad(answers=(("rot", "12"),)), "answer_start is '12', expected a number"),
            (squad(answers=((7, 12),)), "text is int, expected text"),
        ],
    )
    def test_values_of_another_kind_are_named(self, write, content, message):
        path = write("a.json", json.dumps(content))
        with pytest.raises(DataError, match=rf"a\.json: .*{message}"):
            list(read_squad(path, dropped=Counter()))

    def test_missing_keys_are_named(self, write):
        path = write("a.json", '{"data": [{"paragraphs": [{"context": "x"}]}]}')
        with pytest.raises(DataError, match=r"data\[0\].paragraphs\[0\]: no key \['qas'\]"):
            list(read_squad(path, dropped=Counter()))

    def test_afriqa(self, write):
        line = {
            "id": "7",
            "question_lang": "Wa?",
            "context": "c",
            "answer_pivot": {"text": ["yes"]},
        }
        without = {**line, "answer_pivot": {"text": []}}
        path = write("a.jsonl", f"{json.dumps(line)}\n{json.dumps(without)}\n")
        dropped = Counter()
        (question,) = read_afriqa(path, dropped=dropped)
        assert (question.question, question.answers) == ("Wa?", ("yes",))
        assert dropped == {"no answer": 1}
        for texts in (None, ["a", 3]):
            path = write("b.jsonl", json.dumps({**line, "answer_pivot": {"text": texts}}))
            with pytest.raises(DataError, match=r"b\.jsonl: line 1: .*expected a list"):
                list(read_afriqa(path, dropped=dropped))


class TestSentencePairs:
    def test_xnli_keeps_one_language(self, write):
        path = write(
            "a.tsv",
            "language\tgold_label\tsentence1\tsentence2\n"
            "de\tneutral\ta\tb\nfr\tentailment\tc\td\nde\t-\te\tf\n",
        )
        dropped = Counter()
        (pair,) = read_inference(path, language="de", dropped=dropped)
        assert (pair.first, pair.second, pair.label) == ("a", "b", 1)
        assert dropped == {"other language": 1, "no agreed label": 1}

    def test_the_columns_of_the_translations_and_of_farstail(self, write):
        path = write("a.tsv", "premise\thypo\tlabel\na\tb\tcontradictory\n")
        assert [pair.label for pair in read_inference(path, dropped=Counter())] == [2]
        path = write("b.tsv", 'premise\thypothesis\tlabel\n"a\t""b"""\tc\te\n')
        (pair,) = read_inference(path, quoted=True, dropped=Counter())
        assert (pair.first, pair.label) == ('a\t"b"', 0)

    def test_a_label_outside_the_set(self, write):
        path = write("a.tsv", "premise\thypothesis\tlabel\na\tb\te\na\tb\tmaybe\n")
        with pytest.raises(DataError, match=r"a\.tsv: line 3: label 'maybe', expected one of"):
            list(read_inference(path, dropped=Counter()))

    def test_pawsx_with_and_without_ids(self, write):
        path = write("a.tsv", "x\ty\t1\nx\tz\t0\n")
        assert [pair.label for pair in read_paraphrases(path, dropped=Counter())] == [1, 0]
        path = write("b.tsv", "id\tsentence1\tsentence2\tlabel\n9\tx\ty\t1\n")
        assert [pair.id for pair in read_paraphrases(path, dropped=Counter())] == ["9"]
        with pytest.raises(DataError, match="line 1: label '2'"):
            list(read_paraphrases(write("c.tsv", "x\ty\t2\n"), dropped=Counter()))


def test_xcopa(write):
    line = {"premise": "p", "choice1": "a", "choice2": "b", "question": "effect", "label": 1}
    path = write("a.jsonl", json.dumps({**line, "idx": 3}) + "\r\n")
    (choice,) = read_xcopa(path, dropped=Counter())
    assert (choice.id, choice.question, choice.label) == ("3", "effect", 1)
    for key, value in (("label", 2), ("label", 1.0), ("label", True), ("question", "why")):
        path = write("b.jsonl", json.dumps({**line, "idx": 3, key: value}))
        with pytest.raises(DataError, match=f"line 1: {key} "):
            list(read_xcopa(path, dropped=Counter()))


class TestTagged:
    def test_universal_ner(self, write):
        path = write(
            "a.iob2",
            "# sent_id = n1\n# text = # Rio\n1\t#\tO\t-\t-\n2\tRio\tB-LOC\t-\tx\n\n\n"
            "1\tOi\tO\t-\t-\n",
        )
        first, second = read_entities(path, types=("LOC",), dropped=Counter())
        assert (first.id, first.tokens, first.tags) == ("n1", ("#", "Rio"), ("O", "B-LOC"))
        assert second.id == "7"

    def test_wikiann(self, write):
        path = write("train", "en:Rio\tB-LOC\nen::\tO\nen:a:b\tO\n")
        (sentence,) = read_entities(path, types=("LOC",), dropped=Counter())
        assert sentence.tokens == ("Rio", ":", "a:b")
        path = write("mine", "Re:x\tO\nRio\tB-GPE\n\nRe:x\tO\n")
        first, second = read_entities(path, types=None, dropped=Counter())
        assert (first.tokens, second.tokens) == (("Re:x", "Rio"), ("Re:x",))

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("1\tRio\tLOC\t-\t-", "tag 'LOC', expected O, B-<type> or I-<type>"),
            ("1\tRio\tB-MISC\t-\t-", "tag 'B-MISC' has a type outside LOC"),
            ("1\tRio\tO", "3 tab-separated cells"),
        ],
    )
    def test_faults_of_entities(self, write, line, message):
        path = write("a.iob2", f"1\tOi\tO\t-\t-\n{line}\n")
        with pytest.raises(DataError, match=rf"a\.iob2: line 2: {message}"):
            list(read_entities(path, types=("LOC",), dropped=Counter()))

    def test_conllu_words_are_neither_ranges_nor_empty_nodes(self, write):
        rest = "\t_" * 6
        words = [("1-2", "du", "_"), ("1", "de", "ADP"), ("2", "le", "DET"), ("2.1", "x", "X")]
        text = "\n".join(f"{i}\t{form}\t_\t{tag}{rest}" for i, form, tag in words)
        (sentence,) = read_conllu(write("a.conllu", f"# sent_id = s\n{text}\n"), dropped=Counter())
        assert (sentence.tokens, sentence.tags) == (("de", "le"), ("ADP", "DET"))

    def test_word_tags(self, write):
        path = write("a.tsv", "# n01\n#\tSYM\nx y\tNOUN\n")
        (sentence,) = read_word_tags(path, dropped=Counter())
        assert (sentence.id, sentence.tokens) == ("n01", ("#", "x y"))
        with pytest.raises(DataError, match="line 1: tag 'NN'"):
            list(read_word_tags(write("b.tsv", "x\tNN\n"), dropped=Counter()))

    def test_xsid(self, write):
        text = "# id = 4\n# intent: PlayMusic\n1\tx\tPlayMusic\tB-t\n2\ty\tPlayMusic\tI-t\n"
        path = write("a.conll", text)
        (sentence,) = read_xsid(path, dropped=Counter())
        assert (sentence.id, sentence.intent, sentence.tags) == ("4", "PlayMusic", ("B-t", "I-t"))
        path = write("c.conll", f"{text}\n# id = 5\n1\tx\tPlayMusik\tO\n")
        with pytest.raises(
            DataError, match=r"c\.conll: line 7: unknown intent 'PlayMusik'; nearest"
        ):
            list(read_xsid(path, dropped=Counter()))
        with pytest.raises(DataError, match="different intents"):
            list(read_xsid(write("b.conll", "1\tx\ta\tO\n2\ty\tb\tO\n"), dropped=Counter()))

    def test_xsid_training(self, write):
        texts = write("t", "a b\nc\nd\n")
        dropped = Counter()
        sentences = list(
            read_xsid_training(
                texts,
                write("l", "O B-x\tRateBook\nOrecurring_datetime\tPlayMusic\nO\tGetWeather\n"),
                dropped=dropped,
            )
        )
        assert [s.intent for s in sentences] == ["RateBook", "PlayMusic", "weather/find"]
        assert sentences[1].tags == ("O",)
        assert dropped == {
            "tag Orecurring_datetime read as O": 1,
            "intent GetWeather read as weather/find": 1,
        }

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ("O B-x\tRateBook\nO O\tRateBook\n", "l: line 2: 2 tags for 1 tokens"),
            ("O O\tRateBook\n", "t: line 2: .*l ends before it"),
            ("O O\tRateBook\nO\tRateBook\nO\tk\n", "l: line 3: .*t has 2 lines only"),
            ("O O\nO\tRateBook\n", "l: line 1: no intent"),
            ("O O\tRateBok\n", "l: line 1: unknown intent 'RateBok'; nearest: 'RateBook'"),
        ],
    )
    def test_faults_of_xsid_training(self, write, labels, message):
        with pytest.raises(DataError, match=message):
            list(read_xsid_training(write("t", "a b\nc\n"), write("l", labels), dropped=Counter()))


def test_mtop(write):
    cells = ["1", "IN:A", "", "wake me", "alarm", "en_XX", "[IN:A [SL:B me ] ]", "{}"]
    (parse,) = read_mtop(write("a.txt", "\t".join(cells) + "\n"), dropped=Counter())
    assert (parse.utterance, parse.parse, parse.domain) == (
        "wake me",
        "[IN:A [SL:B me ] ]",
        "alarm",
    )
    for broken in ("[IN:A [SL:B me ]", "[IN:A ] ]", "IN:A", "[IN:A ] [IN:B ]"):
        path = write("b.txt", "\t".join([*cells[:6], broken, "{}"]))
        with pytest.raises(DataError, match="line 1: decoupled form"):
            list(read_mtop(path, dropped=Counter()))


class TestBitext:
    def test_pairs_by_line(self, write):
        dropped = Counter()
        pairs = list(
            read_aligned(
                write("s", "a\n\nc\u2028d\n"),
                write("t", "x\ny\nz\n"),
                language="fr",
                dropped=dropped,
            )
        )
        assert [(p.id, p.source, p.target) for p in pairs] == [
            ("1", "a", "x"),
            ("3", "c\u2028d", "z"),
        ]
        assert dropped == {"empty side": 1}

    @pytest.mark.parametrize(("source", "target"), [("a\nb\n", "x\n"), ("a\n", "x\ny\n")])
    def test_lengths_that_differ(self, write, source, target):
        with pytest.raises(DataError, match="line 2: .* has 1 lines only"):
            list(
                read_aligned(
                    write("s", source), write("t", target), language="fr", dropped=Counter()
                )
            )

    def test_tatoeba_and_bucc(self, write, tmp_path):
        write("tatoeba.deu-eng.deu", "eins\nzwei\n")
        write("tatoeba.deu-eng.eng", "one\ntwo\n")
        found = read_tatoeba(tmp_path, "deu")
        assert (found.sources, found.pairs) == (("eins", "zwei"), ((0, 0), (1, 1)))
        write("de-en.training.de", "d1\teins\nd2\tzwei\n")
        write("de-en.training.en", "e1\ttwo\ne2\tfour\n")
        write("de-en.training.gold", "d2\te1\n")
        assert read_bucc(tmp_path, "de", "training").pairs == ((1, 0),)
        write("de-en.training.gold", "d9\te1\n")
        with pytest.raises(DataError, match="no sentence with the ids d9, e1"):
            read_bucc(tmp_path, "de", "training")


class TestWikiLingua:
    ENGLISH = {"u": {"s": {"document": "long", "summary": "short"}}}
    TURKISH = {
        "v": {
            "b": {
                "document": "uzun",
                "summary": "kısa",
                "english_url": "u",
                "english_section_name": "s",
            },
            "c": {
                "document": "uzun",
                "summary": "kısa",
                "english_url": "gone",
                "english_section_name": "s",
            },
        }
    }

    def test_documents_come_with_the_english_summary(self, write):
        english = write("english.json", json.dumps(self.ENGLISH))
        dropped = Counter()
        (one,) = read_wikilingua(
            write("t.json", json.dumps(self.TURKISH)), english, dropped=dropped
        )
        assert (one.document, one.summary, one.article) == ("uzun", "short", "u")
        assert dropped == {"no English section": 1}
        assert [a.article for a in read_wikilingua(english, None, dropped=dropped)] == ["u"]

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("document", None, r"t\.json: 'v', section 'b': document is NoneType, expected text"),
            (
                "english_url",
                ["u"],
                r"t\.json: 'v', section 'b': english_url is list, expected text",
            ),
            ("summary", 3, r"english\.json: 'u', section 's': summary is int, expected text"),
        ],
    )
    def test_values_of_another_kind_are_named(self, write, key, value, message):
        english, other = json.loads(json.dumps([self.ENGLISH, self.TURKISH]))
        (english["u"]["s"] if key == "summary" else other["v"]["b"])[key] = value
        paths = [write("t.json", json.dumps(other)), write("english.json", json.dumps(english))]
        with pytest.raises(DataError, match=message):
            list(read_wikilingua(*paths, dropped=Counter()))

    def test_pickles_are_refused_by_name_and_by_content(self, tmp_path):
        for name in ("english.pkl", "english.json"):
            (tmp_path / name).write_bytes(pickle.dumps(self.ENGLISH))
            with pytest.raises(DataError, match=f"{name}: a pickle"):
                list(read_wikilingua(tmp_path / name, None, dropped=Counter()))

    def test_all_versions_of_an_article_are_in_one_split_and_every_language_gets_its_share(self):
        sections = {
            f"a{i}": {"en": 1 + i % 3, **({"tr": 1} if i % 7 == 0 else {})} for i in range(300)
        }
        splits = hold_out(sections, validation=10, test=12, seed=0)
        held = Counter()
        for article, counts in sections.items():
            for language, number in counts.items():
                held[splits[article], language] += number
        for language in ("en", "tr"):
            assert held["test", language] >= 12
            assert held["validation", language] >= 10
            assert held["train", language] > 0
        assert splits == hold_out(dict(reversed(sections.items())), validation=10, test=12, seed=0)
        assert splits != hold_out(sections, validation=10, test=12, seed=1)
        with pytest.raises(DataError, match="language 'tr' has 43 examples"):
            hold_out(sections, validation=20, test=23, seed=0)

    def test_held_out_examples_are_limited_in_the_order_of_the_draw(self, write):
        path = write("e.json", json.dumps({f"u{i}": self.ENGLISH["u"] for i in range(9)}))
        articles = list(read_wikilingua(path, None, dropped=Counter()))
        few = limited(articles, count=3, seed=5)
        assert few == limited(articles[::-1], count=5, seed=5)[:3]

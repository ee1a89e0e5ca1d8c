"""All benchmarks: a new one is a row here and a line in the test of this table.

Source: https://github.com/google-research/multilingual-t5/blob/9dcd60fc/multilingual_t5/tasks.py
for languages, splits, text forms and lengths of those that mt5 has; the nmT5 paper
(https://arxiv.org/abs/2106.02171) for MTOP, WikiLingua, the unseen languages and the settings.
"""

from collections.abc import Mapping
import dataclasses
import functools

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Files, Part, TfdsForm
from nmt5.evaluation.benchmarks.choice_files import read_xcopa
from nmt5.evaluation.benchmarks.language_sets import (
    AFRIQA_LANGUAGES,
    MLQA_LANGUAGES,
    MTOP_LANGUAGES,
    PAWSX_LANGUAGES,
    PUD_TREEBANKS,
    TYDIQA_NAMES,
    UNER_TRAIN,
    UNER_TREEBANKS,
    UNSEEN_LANGUAGES,
    WIKIANN_LANGUAGES,
    XCOPA_LANGUAGES,
    XNLI_LANGUAGES,
    XQUAD_LANGUAGES,
    XSID_LANGUAGES,
)
from nmt5.evaluation.benchmarks.parse_files import read_mtop
from nmt5.evaluation.benchmarks.question_files import read_afriqa, read_squad
from nmt5.evaluation.benchmarks.sentence_pair_files import read_inference, read_paraphrases
from nmt5.evaluation.benchmarks.tagged_files import (
    UPOS_TAGS,
    read_conllu,
    read_entities,
    read_word_tags,
    read_xsid,
    read_xsid_training,
)
from nmt5.evaluation.benchmarks.tfds_rows import (
    choice_row,
    multi_nli_row,
    paraphrase_row,
    question_row,
    wikiann_row,
    wikilingua_row,
    with_id_prefixes,
    word_tags_row,
    xnli_row,
)
from nmt5.evaluation.benchmarks.translation_table import TRANSLATION_ROWS
from nmt5.evaluation.benchmarks.wikilingua import (
    LANGUAGE_NAMES,
    draw_wikilingua_split,
    read_wikilingua_split,
)
from nmt5.evaluation.scores.entities import ENTITIES_MT5, entities
from nmt5.evaluation.scores.labels import PARSE_MATCH, class_accuracy, tag_accuracy
from nmt5.evaluation.scores.question_answering import MLQA, QUESTION_TOKENS, SQUAD
from nmt5.evaluation.scores.rouge_l import ROUGE_L
from nmt5.evaluation.text_to_answer.entity_text import entity_text, slot_text
from nmt5.evaluation.text_to_answer.free_text import parse_text, summary_text
from nmt5.evaluation.text_to_answer.label_text import (
    CHOICE_LABELS,
    INFERENCE_LABELS,
    INTENT_LABELS,
    PARAPHRASE_LABELS,
    choice_text,
    inference_text,
    intent_text,
    paraphrase_text,
)
from nmt5.evaluation.text_to_answer.question_text import question_text
from nmt5.evaluation.text_to_answer.word_tag_text import word_tag_text

_SQUAD_TRAIN = Part(benchmark="squad", language="en")
_SQUAD_VALIDATION = Part(benchmark="squad", language="en", split="validation")
_COPA_TRAIN = Part(benchmark="copa", language="en")
ENTITY_TYPES = ("PER", "ORG", "LOC")


def _files(*names: str, reader, **settings: str) -> Files:
    return Files(names=names, reader=reader, settings=settings)


def _mlqa_fields(language: str) -> Mapping[str, str]:
    """`de` is German on German passages, `en-de` German questions on English passages."""
    context, _, question = language.partition("-")
    return {"context": context, "question": question or context}


_read_ner = functools.partial(read_entities, types=ENTITY_TYPES)
_read_quoted_inference = functools.partial(read_inference, quoted=True)


def _wikiann(name: str, languages: tuple[str, ...], **rest) -> Benchmark:
    return Benchmark(
        name=name,
        languages=languages,
        splits={
            "train": (_files("{language}/train", reader=_read_ner),),
            "validation": (_files("{language}/dev", reader=_read_ner),),
            "test": (_files("{language}/test", reader=_read_ner),),
        },
        to_text=entity_text,
        metrics=(entities(ENTITY_TYPES), ENTITIES_MT5),
        zeroshot=Part(benchmark="wikiann_ner", language="en"),
        tfds=TfdsForm(
            name="wikiann/{language}:1.0.0",
            splits={"train": "train", "validation": "validation", "test": "test"},
            record=wikiann_row,
        ),
        **rest,
    )


def _xsid(name: str, **rest) -> Benchmark:
    return Benchmark(
        name=name,
        languages=XSID_LANGUAGES,
        splits={
            "train": (
                _files("{language}.train.conll", reader=read_xsid),
                _files(
                    "{language}.train.text.{language}",
                    "{language}.train.label.{language}",
                    reader=read_xsid_training,
                ),
            ),
            "validation": (_files("{language}.valid.conll", reader=read_xsid),),
            "test": (_files("{language}.test.conll", reader=read_xsid),),
        },
        train_languages=("en",),
        zeroshot=Part(benchmark=name, language="en"),
        inputs_tokens=256,
        targets_tokens=128,
        **rest,
    )


_ROWS = (
    Benchmark(
        name="squad",
        languages=("en",),
        splits={
            "train": (_files("train-v1.1.json", reader=read_squad),),
            "validation": (_files("dev-v1.1.json", reader=read_squad),),
        },
        to_text=question_text,
        metrics=(SQUAD, QUESTION_TOKENS),
        train_languages=("en",),
        zeroshot=_SQUAD_TRAIN,
        tfds=TfdsForm(
            name="squad/v1.1:3.0.0",
            splits={"train": "train", "validation": "validation"},
            record=question_row,
        ),
    ),
    Benchmark(
        name="xquad",
        languages=XQUAD_LANGUAGES,
        splits={
            "translate_train": (
                _files("squad.translate.train.en-{language}.json", reader=read_squad),
            ),
            "test": (_files("xquad.{language}.json", reader=read_squad),),
        },
        to_text=question_text,
        metrics=(SQUAD, QUESTION_TOKENS),
        zeroshot=_SQUAD_TRAIN,
        english_validation=_SQUAD_VALIDATION,
        tfds=TfdsForm(
            name="xquad/{language}:3.0.0",
            splits={"translate_train": "translate-train", "test": "test"},
            record=question_row,
        ),
        note="no validation split: the checkpoint is chosen on SQuAD's, 1,190 of whose 10,570 "
        "questions are XQuAD's in English",
    ),
    Benchmark(
        name="mlqa",
        languages=(*MLQA_LANGUAGES, "de-en", "en-de"),
        splits={
            split: (
                _files(
                    f"{short}-context-{{context}}-question-{{question}}.json", reader=read_squad
                ),
            )
            for split, short in (("validation", "dev"), ("test", "test"))
        },
        to_text=question_text,
        metrics=(MLQA, SQUAD, QUESTION_TOKENS),
        fields=_mlqa_fields,
        answer_language=lambda language: language.split("-")[0],
        zeroshot=_SQUAD_TRAIN,
        # As mt5 does it.
        translated=tuple(
            Part(benchmark="xquad", language=code, split="translate_train")
            for code in MLQA_LANGUAGES
            if code != "en"
        ),
        tfds=TfdsForm(
            name="mlqa/{language}:1.0.0",
            splits={"validation": "validation", "test": "test"},
            record=question_row,
            languages=MLQA_LANGUAGES,
        ),
        note="en-de: passage and answer in English, question in German",
    ),
    Benchmark(
        name="tydiqa_goldp",
        languages=tuple(TYDIQA_NAMES),
        splits={
            split: (
                _files(f"{{name}}_tydiqa_{short}.json", reader=read_squad),
                _files(f"tydiqa.{{language}}.{short}.json", reader=read_squad),
                _files(f"tydiqa-goldp-v1.1-{short}.json", reader=read_squad, id_prefix="{name}-"),
            )
            for split, short in (("train", "train"), ("validation", "dev"))
        }
        | {
            "translate_train": (
                _files("tydiqa.translate.train.en-{language}.json", reader=read_squad),
            )
        },
        to_text=question_text,
        metrics=(SQUAD, QUESTION_TOKENS),
        fields=lambda language: {"name": TYDIQA_NAMES[language]},
        train_languages=tuple(TYDIQA_NAMES),
        zeroshot=Part(benchmark="tydiqa_goldp", language="en"),
        large_data=_SQUAD_TRAIN,
        tfds=TfdsForm(
            name="tydi_qa/goldp:3.0.0",
            splits={
                "train": "train",
                "validation": "validation-{language}",
                "translate_train": "translate-train-{language}",
            },
            record=with_id_prefixes(TYDIQA_NAMES),
        ),
        note="no public test split: scores are selected on the split that is reported",
    ),
    Benchmark(
        name="afriqa",
        languages=AFRIQA_LANGUAGES,
        splits={
            split: (
                _files(
                    f"gold_span_passages.afriqa.{{language}}.{{pivot}}.{short}.json",
                    reader=read_afriqa,
                ),
            )
            for split, short in (("train", "train"), ("validation", "dev"), ("test", "test"))
        },
        to_text=question_text,
        metrics=(SQUAD, QUESTION_TOKENS),
        fields=lambda language: {"pivot": "fr" if language == "fon" else "en"},
        answer_language=lambda language: "fr" if language == "fon" else "en",
        train_languages=tuple(code for code in AFRIQA_LANGUAGES if code != "swa"),
        validation_languages=("bem", "fon", "hau", "ibo", "kin"),
        zeroshot=_SQUAD_TRAIN,
        note="question in the language, passage and answer in English, or French for fon",
    ),
    Benchmark(
        name="multi_nli",
        languages=("en",),
        splits={"train": (_files("multinli_1.0_train.txt", reader=read_inference),)},
        to_text=inference_text,
        metrics=(class_accuracy(INFERENCE_LABELS),),
        targets_tokens=128,
        train_languages=("en",),
        tfds=TfdsForm(name="multi_nli:1.1.0", splits={"train": "train"}, record=multi_nli_row),
    ),
    Benchmark(
        name="xnli",
        languages=XNLI_LANGUAGES,
        splits={
            "translate_train": (_files("multinli.train.{language}.tsv", reader=read_inference),),
            "validation": (_files("xnli.dev.tsv", reader=read_inference, language="{language}"),),
            "test": (_files("xnli.test.tsv", reader=read_inference, language="{language}"),),
        },
        to_text=inference_text,
        metrics=(class_accuracy(INFERENCE_LABELS),),
        targets_tokens=128,
        zeroshot=Part(benchmark="multi_nli", language="en"),
        tfds=TfdsForm(
            name="xnli:1.1.0",
            splits={"translate_train": "train", "validation": "validation", "test": "test"},
            other_names={"translate_train": "xtreme_xnli:1.1.0"},
            record=xnli_row,
        ),
    ),
    Benchmark(
        name="farstail",
        languages=("fa",),
        splits={
            "train": (_files("Train-word.csv", reader=_read_quoted_inference),),
            "validation": (_files("Val-word.csv", reader=_read_quoted_inference),),
            "test": (_files("Test-word.csv", reader=_read_quoted_inference),),
        },
        to_text=inference_text,
        metrics=(class_accuracy(INFERENCE_LABELS),),
        targets_tokens=128,
        train_languages=("fa",),
        zeroshot=Part(benchmark="multi_nli", language="en"),
    ),
    Benchmark(
        name="pawsx",
        languages=PAWSX_LANGUAGES,
        splits={
            "train": (
                _files("{language}/train.tsv", reader=read_paraphrases),
                _files("train-{language}.tsv", reader=read_paraphrases),
            ),
            "translate_train": (
                _files("{language}/translated_train.tsv", reader=read_paraphrases),
            ),
            "validation": (
                _files("{language}/dev_2k.tsv", reader=read_paraphrases),
                _files("dev-{language}.tsv", reader=read_paraphrases),
            ),
            "test": (_files("{language}/test_2k.tsv", reader=read_paraphrases),),
        },
        to_text=paraphrase_text,
        metrics=(class_accuracy(PARAPHRASE_LABELS),),
        targets_tokens=128,
        train_languages=("en",),
        zeroshot=Part(benchmark="pawsx", language="en"),
        tfds=TfdsForm(
            name="paws_x_wiki/{language}:1.0.0",
            splits={
                "train": "train",
                "translate_train": "train",
                "validation": "validation",
                "test": "test",
            },
            record=paraphrase_row,
        ),
        note="translated training data is PAWS-X's own (mt5's `_original`), not XTREME's",
    ),
    Benchmark(
        name="copa",
        languages=("en",),
        splits={
            "train": (_files("train.jsonl", reader=read_xcopa),),
            "validation": (_files("val.jsonl", reader=read_xcopa),),
        },
        to_text=choice_text,
        metrics=(class_accuracy(CHOICE_LABELS),),
        inputs_tokens=256,
        targets_tokens=16,
        train_languages=("en",),
        zeroshot=_COPA_TRAIN,
        tfds=TfdsForm(
            name="super_glue/copa:1.0.2",
            splits={"train": "train", "validation": "validation"},
            record=choice_row,
        ),
        note="SuperGLUE's; its test labels are not public",
    ),
    Benchmark(
        name="xcopa",
        languages=XCOPA_LANGUAGES,
        splits={
            "validation": (_files("{language}/val.{language}.jsonl", reader=read_xcopa),),
            "test": (_files("{language}/test.{language}.jsonl", reader=read_xcopa),),
        },
        to_text=choice_text,
        metrics=(class_accuracy(CHOICE_LABELS),),
        inputs_tokens=256,
        targets_tokens=16,
        zeroshot=_COPA_TRAIN,
        english_validation=dataclasses.replace(_COPA_TRAIN, split="validation"),
        note="trained on English COPA, 400 examples; XCOPA's authors train on SIQA before it",
    ),
    _wikiann("wikiann_ner", WIKIANN_LANGUAGES, train_languages=WIKIANN_LANGUAGES),
    _wikiann(
        "wikiann_ner_unseen",
        UNSEEN_LANGUAGES,
        english_validation=Part(benchmark="wikiann_ner", language="en", split="validation"),
    ),
    Benchmark(
        name="uner",
        languages=UNER_TREEBANKS,
        splits={
            "train": (_files("{language}-ud-train.iob2", reader=_read_ner),),
            "validation": (_files("{language}-ud-dev.iob2", reader=_read_ner),),
            "test": (_files("{language}-ud-test.iob2", reader=_read_ner),),
        },
        to_text=entity_text,
        metrics=(entities(ENTITY_TYPES), ENTITIES_MT5),
        train_languages=UNER_TRAIN,
        validation_languages=UNER_TRAIN,
        zeroshot=Part(benchmark="uner", language="en_ewt"),
        note="PUD treebanks have a test split only",
    ),
    Benchmark(
        name="ud_pos",
        languages=("en_ewt", *PUD_TREEBANKS),
        splits={
            split: (
                _files(f"{{language}}-ud-{short}.conllu", reader=read_conllu),
                _files(f"conllu/{{language}}-ud-{short}.conllu", reader=read_conllu),
                _files(f"pos/{{language}}-ud-{short}.pos.tsv", reader=read_word_tags),
            )
            for split, short in (("train", "train"), ("validation", "dev"), ("test", "test"))
        },
        to_text=word_tag_text,
        metrics=(tag_accuracy(UPOS_TAGS),),
        train_languages=("en_ewt",),
        validation_languages=("en_ewt",),
        zeroshot=Part(benchmark="ud_pos", language="en_ewt"),
        tfds=TfdsForm(
            name="universal_dependencies/{language}:1.0.1",
            splits={"train": "train", "validation": "dev", "test": "test"},
            record=word_tags_row,
        ),
        note="PUD treebanks have a test split only",
    ),
    _xsid("xsid_intent", to_text=intent_text, metrics=(class_accuracy(INTENT_LABELS),)),
    _xsid("xsid_slots", to_text=slot_text, metrics=(entities(None), ENTITIES_MT5)),
    Benchmark(
        name="mtop",
        languages=MTOP_LANGUAGES,
        splits={
            "train": (_files("{language}/train.txt", reader=read_mtop),),
            "validation": (_files("{language}/eval.txt", reader=read_mtop),),
            "test": (_files("{language}/test.txt", reader=read_mtop),),
        },
        to_text=parse_text,
        metrics=(PARSE_MATCH,),
        inputs_tokens=256,
        train_languages=MTOP_LANGUAGES,
        zeroshot=Part(benchmark="mtop", language="en"),
    ),
    Benchmark(
        name="wikilingua",
        languages=tuple(LANGUAGE_NAMES),
        splits={
            split: (
                _files(
                    "{name}.json",
                    "english.json",
                    reader=read_wikilingua_split,
                    language="{language}",
                    split="{split}",
                ),
            )
            for split in ("train", "validation", "test")
        },
        to_text=summary_text,
        metrics=(ROUGE_L,),
        fields=lambda language: {"name": LANGUAGE_NAMES[language]},
        answer_language=lambda language: "en",
        train_languages=tuple(LANGUAGE_NAMES),
        tfds=TfdsForm(
            name="gem/wiki_lingua_{name}_{language}:1.1.0",
            # GEM's own splits repeat test summaries in other languages' training data.
            splits=dict.fromkeys(("train", "validation", "test"), "train+validation+test"),
            record=wikilingua_row,
            choose=draw_wikilingua_split,
        ),
        note="any language to English; splits made here, not GEM's",
    ),
    *TRANSLATION_ROWS,
)

BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _ROWS}
# Those of this process alone: own files, SeqIO tasks of others.
_added: dict[str, Benchmark] = {}


def add(row: Benchmark) -> Benchmark:
    """Makes a benchmark known to `benchmark`, for this process.

    Raises:
      ConfigError: the table has one of that name.
    """
    if row.name in BENCHMARKS:
        raise ConfigError(f"benchmark '{row.name}' is in the table; choose another name")
    _added[row.name] = row
    return row


def benchmark(name: str) -> Benchmark:
    """Returns a row of the table, or what `add` added.

    Raises:
      ConfigError: no benchmark is called so; the message has the nearest names.
    """
    if name in _added:
        return _added[name]
    if name not in BENCHMARKS:
        raise ConfigError(unknown_name("benchmark", name, BENCHMARKS))
    return BENCHMARKS[name]

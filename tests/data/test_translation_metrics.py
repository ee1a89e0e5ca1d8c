import inspect

import pytest

from nmt5.data.translation_metrics import bleu, chrf


def test_perfect_and_wrong():
    texts = ["the cat sat on the mat", "a dog ran over the hill"]
    assert bleu(texts, texts) == {"bleu": pytest.approx(100)}
    assert chrf(texts, texts) == {"chrf": pytest.approx(100)}
    assert chrf(texts, ["zzz", "qqq"])["chrf"] == 0


@pytest.mark.parametrize(
    ("language", "target", "prediction"),
    [
        ("zh", "我们今天去公园散步吧", "我们今天去公园玩吧"),
        ("ja", "私たちは公園へ行きます", "私たちは公園に行きます"),
    ],
)
def test_scripts_without_spaces_get_credit(language, target, prediction):
    near, blind = (bleu([target], [prediction], language=name)["bleu"] for name in (language, "en"))
    assert near > 40 > blind


def test_seqio_takes_the_signatures():
    for function in (bleu, chrf):
        required = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is parameter.empty
        ]
        assert required == ["targets", "predictions"]

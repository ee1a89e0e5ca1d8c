"""The languages of each benchmark, English first, in the codes that its files use."""


def _codes(codes: str) -> tuple[str, ...]:
    return tuple(codes.split())


TYDIQA_NAMES = {
    "en": "english", "ar": "arabic", "bn": "bengali", "fi": "finnish", "id": "indonesian",
    "ko": "korean", "ru": "russian", "sw": "swahili", "te": "telugu",
}  # fmt: skip
XNLI_LANGUAGES = _codes("en ar bg de el es fr hi ru sw th tr ur vi zh")
WIKIANN_LANGUAGES = _codes(
    "en af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw "
    "ta te th tl tr ur vi yo zh"
)
# Not among mT5's pre-training languages; `language codes` of WikiAnn (nmT5).
UNSEEN_LANGUAGES = _codes(
    "ace arz ast ba ce ckb csb eml fur gan gn hsb ia jbo lij lmo min nap nov pdc pms pnb qu rm sa "
    "tl vec vep vls xmf"
)
# Universal NER and Universal Dependencies name treebanks; the code is the part before `_`.
UNER_TREEBANKS = _codes(
    "en_ewt en_pud da_ddt de_pud pt_bosque pt_pud sv_pud sv_talbanken zh_gsdsimp zh_pud"
)
UNER_TRAIN = ("en_ewt", "da_ddt", "pt_bosque", "sv_talbanken", "zh_gsdsimp")
PUD_TREEBANKS = tuple(
    f"{code}_pud" for code in _codes("en ar cs de es fi fr hi it ko pl pt ru sv th zh")
)
XSID_LANGUAGES = _codes("en ar da de de-st gsw id it ja nl tr zh")
NTREX_LANGUAGES = _codes(
    "afr arb aze-Latn bak ben bul cat ces ckb-Arab dan deu ell est fas fil fin fra glg hau heb hin "
    "hrv hun hye ibo ind ita jpn kan kin kir kmr kor lao lav lit ltz mal mar mkd mlg mri nep nld "
    "nob pan pol por por-BR pus ron rus slk slv snd-Arab som spa sqi srp-Cyrl swe tat tha tir tsn "
    "tur urd uzb vie wol xho yue zho-CN zho-TW zul"
)
# Codes of translations as nmT5 writes them in `<2xx>`: mC4's, where the files use longer ones.
SHORT_CODES = {
    "afr": "af", "arb": "ar", "aze-Latn": "az", "bak": "ba", "ben": "bn", "bul": "bg", "cat": "ca",
    "ces": "cs", "ckb-Arab": "ckb", "dan": "da", "deu": "de", "ell": "el", "eng": "en",
    "est": "et", "fas": "fa", "fil": "fil", "fin": "fi", "fra": "fr", "glg": "gl", "hau": "ha",
    "heb": "iw", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ibo": "ig", "ind": "id",
    "ita": "it", "jpn": "ja", "kan": "kn", "kin": "rw", "kir": "ky", "kmr": "ku", "kor": "ko",
    "lao": "lo", "lav": "lv", "lit": "lt", "ltz": "lb", "mal": "ml", "mar": "mr", "mkd": "mk",
    "mlg": "mg", "mri": "mi", "nep": "ne", "nld": "nl", "nob": "nb", "pan": "pa", "pol": "pl",
    "por": "pt", "por-BR": "pt-BR", "pus": "ps", "ron": "ro", "rus": "ru", "slk": "sk", "slv": "sl",
    "snd-Arab": "sd", "som": "so", "spa": "es", "sqi": "sq", "srp-Cyrl": "sr", "swe": "sv",
    "tat": "tt", "tha": "th", "tir": "ti", "tsn": "tn", "tur": "tr", "urd": "ur", "uzb": "uz",
    "vie": "vi", "wol": "wo", "xho": "xh", "yue": "yue", "zho-CN": "zh", "zho-TW": "zh-Hant",
    "zul": "zu",
}  # fmt: skip

# Those of the benchmarks that are short enough to stand in one line.
XQUAD_LANGUAGES = _codes("en ar de el es hi ro ru th tr vi zh")
MLQA_LANGUAGES = _codes("en ar de es hi vi zh")
AFRIQA_LANGUAGES = _codes("bem fon hau ibo kin swa yor")
PAWSX_LANGUAGES = _codes("en de es fr ja ko zh")
XCOPA_LANGUAGES = _codes("et ht id it qu sw ta th tr vi zh")
MTOP_LANGUAGES = _codes("en de es fr hi th")

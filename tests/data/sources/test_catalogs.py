import pytest

from nmt5.core.errors import DataError
from nmt5.data.sources.catalogs import find_catalogs, read_catalog

MESSAGES = {"Save": "Sichern", "month\x04May": "Mai", "%d day\x00%d days": "%d Tag\x00%d Tage"}


@pytest.fixture
def catalog_path(make_package):
    def make(messages, **settings):
        package = make_package("demo_catalogs", {"de": messages}, **settings)
        return package / "locale" / "de" / "LC_MESSAGES" / "app.mo"

    return make


@pytest.mark.parametrize("order", ["<", ">"])
def test_context_and_plural_are_taken_apart(catalog_path, order):
    found = {
        entry.english: entry for entry in read_catalog(catalog_path(MESSAGES, order=order)).entries
    }
    assert sorted(found) == ["%d day", "May", "Save"]
    assert found["%d day"].english_plural == "%d days"
    assert found["%d day"].translations == ("%d Tag", "%d Tage")
    assert found["May"].english_plural is None


def test_declared_encoding_is_used(catalog_path):
    catalog = read_catalog(catalog_path({"Change": "Ändern"}, charset="iso-8859-1"))
    assert catalog.entries[0].translations == ("Ändern",)


def test_plural_rule_comes_from_the_header(catalog_path):
    rule = "nplurals=3; plural=(n%10==1 ? 0 : n%10<5 ? 1 : 2);"
    catalog = read_catalog(catalog_path(MESSAGES, plural=rule))
    assert [catalog.plural_form(n) for n in (1, 2, 5, 21)] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: b"PK" + content[2:],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content.replace(b"Sichern", b"Sich\xffrn"),
        lambda content: content.replace(b"charset=utf-8", b"charset=utf-X"),
        lambda content: content.replace(b"plural=(n != 1)", b"plural=(n =! 1)"),
    ],
)
def test_damaged_catalog_is_named(catalog_path, damage):
    path = catalog_path(MESSAGES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"app\.mo cannot be parsed as a compiled message catalog"):
        read_catalog(path)


def test_catalogs_are_found_without_importing_the_package(make_package):
    make_package("demo_found", {"de": MESSAGES, "pt_BR": MESSAGES})
    assert [locale for locale, _ in find_catalogs("demo_found")] == ["de", "pt_BR"]


@pytest.mark.parametrize("name", ["surely_not_installed", "not a name", "../x"])
def test_missing_package_names_the_extra(name):
    with pytest.raises(DataError, match=r"not installed; install the extra `demo`"):
        find_catalogs(name)


def test_package_without_catalogs(make_package):
    make_package("demo_bare", {})
    with pytest.raises(DataError, match="no compiled message catalog"):
        find_catalogs("demo_bare")

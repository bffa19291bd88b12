import datetime as dt
import math
import uuid
from decimal import Decimal

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spellings import IDS, NUMBERS, TIMES
from tastevec.data.intake import rules, spelling, values
from tastevec.data.intake.spelling import (
    EMPTY,
    LOST_DIGITS,
    NO_ID,
    NOT_A_NUMBER,
    NOT_A_TIME,
    NOT_AN_ID,
    NOT_FINITE,
    TimeError,
)

BAD_IDS = {NOT_AN_ID, LOST_DIGITS, spelling.CONTROL, spelling.TOO_LONG}


@pytest.fixture(scope="module")
def duckdb():
    """A DuckDB in memory."""
    return ibis.duckdb.connect(threads=1)


def column(texts, kind=None):
    """Return a table with one column."""
    return ibis.memtable(pa.table({"x": pa.array(texts, kind) if kind else pa.array(texts)}))


def read(duckdb, rule, texts, kind=None):
    """Return the value of each place, or the reason why there is none, as the rule reads it on DuckDB."""
    table = column(texts, kind)
    found = rule(table.x)
    return merged(duckdb.to_pyarrow(table.select(value=found.value, error=found.error)))


def merged(table):
    """Return for each row its value or else its error; never both."""
    rows = table.to_pylist()
    assert all((row["value"] is None) != (row["error"] is None) for row in rows)
    return [row["value"] if row["error"] is None else row["error"] for row in rows]


def by_value(pair):
    """Return for each place the value or else the error of `values`."""
    found, errors = pair
    return [
        value if error is None else error
        for value, error in zip(found.tolist(), errors.to_pylist(), strict=True)
    ]


def read_times(duckdb, texts, kind=None):
    """Return the times of a column on DuckDB, in the format that its own counts decide."""
    table = column(texts, kind)
    how = spelling.time_format(duckdb.to_pyarrow(rules.count_times(table, table.x)).to_pylist()[0])
    return read(duckdb, lambda x: rules.read_time(x, how), texts, kind)


@pytest.mark.parametrize(
    ("table", "rule", "of_values"),
    [
        (IDS, rules.read_id, values.read_ids),
        (NUMBERS, rules.read_number, values.read_numbers),
        (TIMES, lambda x: rules.read_time(x, spelling.TimeFormat()), values.read_times),
    ],
    ids=["ids", "numbers", "times"],
)
def test_each_spelling_is_read_alike_on_duckdb_and_in_arrow(duckdb, table, rule, of_values):
    texts, expected = map(list, zip(*table, strict=True))
    assert read(duckdb, rule, texts) == expected
    assert by_value(of_values(texts)) == expected
    assert by_value(of_values(pa.chunked_array([texts[:5], texts[5:]]).dictionary_encode())) == expected


def test_counted_spellings_of_times_have_the_format_of_the_table(duckdb):
    texts = [text for text, _ in TIMES]
    assert read_times(duckdb, texts) == [time for _, time in TIMES]


@pytest.mark.parametrize(("text", "expected"), IDS)
def test_single_id_is_read_as_in_a_column(text, expected):
    if expected in BAD_IDS:
        with pytest.raises(values.BadValueError) as refused:
            values.read_id(text)
        assert (refused.value.code, refused.value.shown) == (expected, repr(text)[:100])
    else:
        assert values.read_id(text) == (None if expected == NO_ID else expected)


def test_whole_ids_are_integers_in_their_own_digits(duckdb):
    texts = [
        "50",
        "007",
        "-5",
        "a",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        None,
        "+5",
    ]
    expected = [50, None, -5, None, 2**63 - 1, None, -(2**63), None, None]
    table = column(texts)
    assert duckdb.to_pyarrow(table.select(x=rules.whole(table.x)))["x"].to_pylist() == expected
    assert values.whole(pa.array(texts)).to_pylist() == expected


def test_missing_words_are_ids_where_only_the_empty_text_is_missing(duckdb):
    expected = ["nan", NO_ID, NO_ID]
    for missing in ((), ("",)):
        assert read(duckdb, lambda x, m=missing: rules.read_id(x, m), ["nan", " ", None]) == expected
        assert by_value(values.read_ids(["nan", " ", None], missing)) == expected
    assert by_value(values.read_ids(["-", "NAN"], ("-",))) == [NO_ID, "NAN"]


TYPED_IDS = [
    ([50, None, -1], pa.int8(), ["50", NO_ID, "-1"]),
    ([2**64 - 1, 5], pa.uint64(), ["18446744073709551615", "5"]),
    (
        [50.0, 50.5, math.nan, math.inf, 1e300, 2.0**53, -0.0, 9.78e12],
        pa.float64(),
        ["50", NOT_AN_ID, NO_ID, NOT_AN_ID, LOST_DIGITS, LOST_DIGITS, "0", "9780000000000"],
    ),
    ([3.0, 2.0**24], pa.float32(), ["3", LOST_DIGITS]),
    ([Decimal("50.00"), Decimal("50.50"), None], None, ["50", NOT_AN_ID, NO_ID]),
    ([b"50.0", "é".encode(), b"\xff", None], None, ["50", "é", NOT_AN_ID, NO_ID]),
    ([True, None], None, [NOT_AN_ID, NO_ID]),
    ([[1], None], None, [NOT_AN_ID, NO_ID]),
    ([dt.date(2020, 1, 1), None], None, [NOT_AN_ID, NO_ID]),
]


@pytest.mark.parametrize(("typed", "kind", "expected"), TYPED_IDS)
def test_typed_ids_are_read_as_their_digits_or_refused(duckdb, typed, kind, expected):
    assert read(duckdb, rules.read_id, typed, kind) == expected
    assert by_value(values.read_ids(pa.array(typed, kind))) == expected


def test_uuids_are_lower_case_text(duckdb):
    given = uuid.UUID("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")
    duckdb.raw_sql(f"CREATE OR REPLACE TABLE uuids AS SELECT UUID '{given}' AS x")
    found = rules.read_id(duckdb.table("uuids").x).value
    assert duckdb.to_pyarrow(found).to_pylist() == [str(given)]
    assert by_value(values.read_ids(pa.array([given.bytes], pa.uuid()))) == [str(given)]


def test_ids_of_several_types_in_one_list_are_each_read_by_their_own():
    given = [50, "127", 50.0, True, b"x", 2**70, [1], None, np.float32(7), Decimal("1E+2"), math.nan]
    expected = ["50", "127", "50", NOT_AN_ID, "x", str(2**70), NOT_AN_ID, NO_ID, "7", "100", NO_ID]
    assert by_value(values.read_ids(given)) == expected


TYPED_NUMBERS = [
    ([1.5, math.nan, math.inf, None], None, [1.5, EMPTY, NOT_FINITE, EMPTY]),
    ([1, None], None, [1.0, EMPTY]),
    ([Decimal("4.5")], None, [4.5]),
    ([True, None], None, [NOT_A_NUMBER, EMPTY]),
]


@pytest.mark.parametrize(("typed", "kind", "expected"), TYPED_NUMBERS)
def test_typed_numbers_are_finite_or_have_a_reason(duckdb, typed, kind, expected):
    assert read(duckdb, rules.read_number, typed, kind) == expected
    assert by_value(values.read_numbers(pa.array(typed, kind))) == expected


def test_decimal_commas_are_read_where_they_are_stated(duckdb):
    texts, expected = ["4,5", "4.5", ",5", "1.234,5", "1,2,3"], [4.5, 4.5, 0.5, NOT_A_NUMBER, NOT_A_NUMBER]
    assert read(duckdb, lambda x: rules.read_number(x, decimal_comma=True), texts) == expected


NOW = 1_700_000_000
TYPED_TIMES = [
    ([NOW * 1_000_000 + 600_000, 5, None], pa.timestamp("us"), [NOW, 0, EMPTY]),
    ([NOW * 1_000_000_000 + 999_999_999], pa.timestamp("ns"), [NOW]),
    ([NOW * 1_000 + 999], pa.timestamp("ms", "Europe/Berlin"), [NOW]),
    ([NOW], pa.timestamp("s"), [NOW]),
    ([dt.date(2020, 1, 1), dt.date(1960, 1, 1)], None, [1_577_836_800, NOT_A_TIME]),
    ([NOW + 0.7, math.nan, -1.0, 1e30, None], None, [NOW, EMPTY, NOT_A_TIME, NOT_A_TIME, EMPTY]),
    ([NOW, 2**64 - 1], pa.uint64(), [NOW, NOT_A_TIME]),
    ([NOW, -5], pa.int32(), [NOW, NOT_A_TIME]),
    ([Decimal("1700000000.5")], None, [NOW]),
    ([NOW * 1_000 + 999], None, [NOW]),
    ([NOW * 1_000_000 + 999_999], None, [NOW]),
    ([NOW * 1_000_000_000 + 999_999_999], None, [NOW]),
    ([str(NOW * 1_000_000_000 + 999_999_999)], None, [NOW]),
    ([20230321, 20230231], None, [1_679_356_800, NOT_A_TIME]),
    (["20230321", " 20230322"], None, [1_679_356_800, 1_679_443_200]),
    (["03/04/2019", "13/04/2019"], None, [1_554_249_600, 1_555_113_600]),
    (["03/04/2019", "04/13/2019"], None, [1_551_657_600, 1_555_113_600]),
    (["03/03/2019"], None, [1_551_571_200]),
    ([True, None], None, [NOT_A_TIME, EMPTY]),
    ([dt.time(1, 2)], None, [NOT_A_TIME]),
]


@pytest.mark.parametrize(("given", "kind", "expected"), TYPED_TIMES)
def test_times_of_every_type_are_whole_seconds(duckdb, given, kind, expected):
    array = pa.array(given, kind)
    if pa.types.is_temporal(array.type) or pa.types.is_boolean(array.type):
        found = read(duckdb, lambda x: rules.read_time(x, spelling.time_format({}, typed=True)), given, kind)
    else:
        found = read_times(duckdb, given, kind)
    assert found == expected
    assert by_value(values.read_times(array)) == expected


def test_times_of_several_types_in_one_list_are_each_read_by_their_own():
    moment = dt.datetime(2020, 1, 1, 3, tzinfo=dt.timezone(dt.timedelta(hours=3)))
    given = [NOW, "2024-03-02", moment, None, NOW + 0.5]
    assert by_value(values.read_times(given)) == [NOW, 1_709_337_600, 1_577_836_800, EMPTY, NOW]


@pytest.mark.parametrize(
    ("texts", "code", "words"),
    [
        (
            ["1700000000", "1700000000000", "1700000001"],
            spelling.MIXED_UNITS,
            "mixes seconds and milliseconds",
        ),
        (["03/04/2019", "05/06/2019"], spelling.DAY_OR_MONTH, "--time-format %m/%d/%Y or %d/%m/%Y"),
        (["13/04/2019", "04/13/2019"], spelling.DAY_OR_MONTH, "--time-format %m/%d/%Y or %d/%m/%Y"),
        (["2015", "2016"], spelling.READ_AS_1970, "these times read as 1970: --time-format %Y"),
        (["201512"], spelling.READ_AS_1970, "these times read as 1970: --time-format %Y%m"),
        (["45353.84", ""], spelling.READ_AS_1970, "these times read as 1970: --time-format excel"),
        (["1", "2"], spelling.READ_AS_1970, "these times read as 1970"),
    ],
)
def test_times_that_can_be_read_in_two_ways_are_refused(duckdb, texts, code, words):
    for read_all in (lambda: read_times(duckdb, texts), lambda: values.read_times(texts)):
        with pytest.raises(TimeError) as refused:
            read_all()
        assert refused.value.code == code
        assert words in str(refused.value)


def test_mixed_units_name_the_first_row_of_the_rarer_one(duckdb):
    times = [NOW, NOW, NOW * 1_000, NOW * 1_000, NOW]
    table = ibis.memtable(pa.table({"x": times, "position": [7, 8, 9, 10, 11]}))
    counts = duckdb.to_pyarrow(rules.count_times(table, table.x, table["position"])).to_pylist()[0]
    with pytest.raises(TimeError) as refused:
        spelling.time_format(counts)
    assert refused.value.first == 9
    with pytest.raises(TimeError) as refused:
        values.read_times(times)
    assert refused.value.first == 2


def test_numbers_of_1970_are_read_once_they_are_accepted():
    assert by_value(values.read_times([1, 2], accept=[spelling.READ_AS_1970])) == [1, 2]


STATED = [
    ("%Y", ["2015", "abc", None, ""], [1_420_070_400, NOT_A_TIME, EMPTY, EMPTY]),
    ("%Y", [2015.0, None], [1_420_070_400, EMPTY]),
    ("%Y", [2015, 2016], [1_420_070_400, 1_451_606_400]),
    ("%m/%d/%Y", [" 03/04/2019"], [1_551_657_600]),
    ("%d.%m.%y %H:%M", ["21.03.23 10:00"], [1_679_392_800]),
    ("%Y-%m-%dT%H:%M:%S%z", ["2020-01-01T03:00:00+0300"], [1_577_836_800]),
    ("excel", ["45353.84", "45353.5", "x", "1e300"], [1_709_410_176, 1_709_380_800, NOT_A_TIME, NOT_A_TIME]),
    ("excel", [45353.5, None], [1_709_380_800, EMPTY]),
]


@pytest.mark.parametrize(("pattern", "given", "expected"), STATED)
def test_stated_formats_are_read(duckdb, pattern, given, expected):
    how = spelling.time_format({}, pattern)
    assert read(duckdb, lambda x: rules.read_time(x, how), given) == expected
    assert by_value(values.read_times(given, pattern)) == expected


# Texts close to what the rules look at: digits, signs, points, exponents, white space and words.
TEXTS = st.text(st.sampled_from("0123456789.,+-eE_/:TZnaN \t\xa0\ufeff\x01é"), max_size=12) | st.text(
    max_size=6
)
COLUMNS = st.lists(TEXTS | st.none(), min_size=1, max_size=60)
REPEATED = settings(max_examples=30, deadline=None)


def test_surrogates_cannot_occur():
    """Arrow holds UTF-8 alone, so that the properties below draw none."""
    with pytest.raises(UnicodeEncodeError):
        pa.array(["\ud800"])


@REPEATED
@given(COLUMNS)
@example(["nan", "NaN ", "-0.0", "1e+5", "1.e+5", ".e+5", "5.", "-", "."])
def test_ids_of_any_text_are_read_alike_and_stay_what_they_are(duckdb, texts):
    found = read(duckdb, rules.read_id, texts, pa.string())
    assert by_value(values.read_ids(texts)) == found
    good = [value for value in found if value not in {NO_ID, *BAD_IDS}]
    assert read(duckdb, rules.read_id, good, pa.string()) == good


@REPEATED
@given(COLUMNS, st.booleans())
def test_numbers_of_any_text_are_read_alike(duckdb, texts, comma):
    found = read(duckdb, lambda x: rules.read_number(x, decimal_comma=comma), texts, pa.string())
    assert comma or by_value(values.read_numbers(texts)) == found


def outcome(read_all):
    """Return the result, or the code and the words of the refusal."""
    try:
        return read_all()
    except TimeError as refused:
        return refused.code, str(refused)


@st.composite
def dates(draw):
    """Draw a text that is a date and a clock, or nearly."""
    year, month, day = draw(st.integers(1965, 2030)), draw(st.integers(0, 13)), draw(st.integers(0, 32))
    date = draw(st.sampled_from(["{0}-{1:02}-{2:02}", "{0}/{1}/{2}", "{2}.{1}.{0}", "{1}/{2}/{0}"]))
    clock = draw(st.sampled_from(["", " {0:02}:{1:02}:{2:02}", "T{0:02}:{1:02}", " {0}:{1:02}:{2:02}.5"]))
    end = draw(st.sampled_from(["", "Z", " UTC", "+0300", "-05", "+05:30", " AM", "pm", "+1"]))
    hour, minute, second = draw(st.integers(0, 25)), draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return date.format(year, month, day) + (clock.format(hour, minute, second) + end if clock else "")


@settings(max_examples=8, deadline=None)  # each makes a long query
@given(st.lists(dates() | TEXTS | st.none() | st.integers(0, 2 * NOW).map(str), min_size=1, max_size=100))
def test_times_of_any_text_are_read_alike(duckdb, texts):
    array = pa.array(texts, pa.string())
    assert outcome(lambda: by_value(values.read_times(array))) == outcome(
        lambda: read_times(duckdb, texts, array.type)
    )


@REPEATED
@given(st.integers(0, 90_000_000_000), st.integers(-12 * 60, 12 * 60))
def test_iso_times_of_any_zone_are_their_unix_seconds(seconds, minutes):
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    moment = dt.datetime.fromtimestamp(seconds, zone)
    assert by_value(values.read_times([moment.isoformat(), "2020-01-01"])) == [seconds, 1_577_836_800]

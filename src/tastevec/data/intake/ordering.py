"""Ordering: repeated pairs of user and item, rows without a time, and what orders a history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import ibis

from tastevec.data.intake.feedback import OrderFacts, choose_order
from tastevec.data.intake.report import percent
from tastevec.errors import DataError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from tastevec.data.intake.context import Context
    from tastevec.schema import Order, Repeats

_MISSING_TIMES = 0.2  # a larger share of rows without a time needs a choice
_OLD = 631_152_000  # 1990
_SAMPLE = (
    2_000_000  # rows of users whose steps show how the file is sorted; of more rows, a part of the users
)
_RESOLUTIONS: Final = ((60, "minute"), (3_600, "hour"), (86_400, "day"))
_HOW: Final = {
    "latest": "the latest counts",
    "sum": "summed",
    "strongest": "the strongest event of a pair counts",
    "keep": "all stay in the history, overall reads each item once",
}


@dataclass(frozen=True)
class Times:
    """The times of all rows.

    Attributes:
        first: The first, in Unix seconds; None without times.
        last: The last.
        placed: Rows without a time, which keep their place.
        dropped: Rows without a time that were dropped.
    """

    first: int | None = None
    last: int | None = None
    placed: int = 0
    dropped: int = 0


def fill_times(context: Context, rows: ibis.Table) -> tuple[ibis.Table, Times]:
    """Return the rows of users who have times with one each: that of the user's row before it, else of the one after it.

    Raises:
        DataError: Too many rows have none.
    """
    time = rows.timestamp
    facts = context.row(rows.agg(rows=rows.count(), timed=time.count(), first=time.min(), last=time.max()))
    if not facts["timed"]:
        return rows, Times()
    if facts["first"] < _OLD:
        context.findings.warn(
            "old-times", f"{context.where}: the first time is {_day(facts['first'])}, before 1990"
        )
    missing, choice = facts["rows"] - facts["timed"], context.settings.missing_times
    if not missing:
        return rows, Times(facts["first"], facts["last"])
    if choice == "drop":
        return rows.filter(time.notnull()), Times(facts["first"], facts["last"], dropped=missing)
    if choice is None and missing > _MISSING_TIMES * facts["rows"] and context.model is None:
        share = percent(missing / facts["rows"])
        raise DataError(
            f"{context.where}: {share} of rows have no time: --missing-times order or drop",
            code="missing-times",
        )
    user = [rows[USER_ID]]
    known = time.count().over(
        ibis.window(group_by=user, order_by=rows[POSITION], preceding=None, following=0)
    )
    numbered = rows.mutate(known=known)
    of_first = ibis.ifelse(numbered.known == 1, numbered.timestamp, ibis.null("int64"))
    after = of_first.max().over(ibis.window(group_by=[numbered[USER_ID]]))
    before = numbered.timestamp.max().over(ibis.window(group_by=[numbered[USER_ID], numbered.known]))
    before = ibis.ifelse(numbered.known == 0, ibis.null("int64"), before)
    filled = numbered.mutate(timestamp=ibis.coalesce(numbered.timestamp, before, after)).drop("known")
    return context.engine.store(filled, "placing rows without a time"), Times(
        facts["first"], facts["last"], missing
    )


def merge_repeats(
    context: Context, rows: ibis.Table, repeats: Repeats, *, timed: bool
) -> tuple[ibis.Table, str]:
    """Return one row per user and item, at its latest time and place, and what the report says; with "keep" all rows.

    Rows that are equal, time included, were delivered twice and count once.
    """
    keys = [USER_ID, ITEM_ID]
    if context.engine.are_sorted(rows, (USER_ID, ITEM_ID)):
        return rows, "none"
    pairs = rows.group_by(keys).agg(rows=rows.count())
    pairs = context.engine.store(pairs.filter(pairs.rows > 1), "finding repeats")
    found = context.row(pairs.agg(pairs=pairs.count(), rows=pairs.rows.sum().fill_null(0)))
    if not found["pairs"]:
        return rows, "none"
    again, identical = rows.semi_join(pairs, keys), 0
    if timed:
        equal = [*keys, RATING, TIMESTAMP]
        if repeats == "keep":  # a row without a time is one of its own
            again = again.mutate(alone=ibis.ifelse(again.timestamp.isnull(), again[POSITION], -1))
            equal.append("alone")
        same = again.group_by(equal).agg(**{POSITION: again[POSITION].max()})
        again = context.engine.store(same.select(rows.columns), "removing identical rows")
        identical = found["rows"] - context.row(again.agg(rows=again.count()))["rows"]
    merged = ibis.union(rows.anti_join(pairs, keys), _one_row(again, repeats).select(rows.columns))
    merged = context.engine.store(merged, "merging repeats")
    said = [f"{identical:,} identical row{'s' * (identical != 1)}"] if identical else []
    if extra := found["rows"] - found["pairs"] - identical:
        left = context.row(merged.agg(rows=merged.count()))["rows"]
        said += [f"{extra:,} repeat{'s' * (extra != 1)}, {_HOW[repeats]}: {left:,} interactions"]
    return merged, ", ".join(said)


def _one_row(rows: ibis.Table, repeats: Repeats) -> ibis.Table:
    """Return one row per user and item: its latest, with the value that counts; with "keep" all rows."""
    if repeats == "keep":
        return rows
    pair = [rows[USER_ID], rows[ITEM_ID]]
    latest = [ibis.desc(rows.timestamp.fill_null(-1)), ibis.desc(rows[POSITION])]
    value = rows.rating
    if repeats == "sum":
        value = value.sum().over(ibis.window(group_by=pair))
    elif repeats == "strongest":
        strongest = [ibis.desc(value.abs().fill_null(-1)), *latest]
        value = value.first().over(ibis.window(group_by=pair, order_by=strongest))
    ranked = rows.mutate(
        rating=value, rank=ibis.row_number().over(ibis.window(group_by=pair, order_by=latest))
    )
    return ranked.filter(ranked["rank"] == 0).drop("rank")


def order_rows(
    context: Context, rows: ibis.Table, times: Times, *, unit: str = ""
) -> tuple[ibis.Table, Order, str]:
    """Return the rows with positions that order equal times, what orders a history, and what the report says.

    Where the file was sorted by item inside equal times, its order says nothing: a hash of user and item takes its place.
    """
    timed = times.first is not None
    if (
        context.model is not None
    ):  # as a list or a request of one user, which cannot tell how a file was sorted
        return rows, "timestamp" if timed else "file", "as given"
    facts, resolution = _order_facts(context, rows, timed=timed), "second"
    if timed:
        for size, name in _RESOLUTIONS:
            odd = rows.filter(rows.timestamp % size != 0).limit(1)  # nearly always among the first rows
            if context.row(odd.agg(rows=odd.count()))["rows"]:
                break
            resolution = name
    order, hashed = choose_order(
        facts, context.settings, context.findings, timed=timed, resolution=resolution
    )
    if hashed:
        key = rows[USER_ID].cast("string") + ":" + rows[ITEM_ID].cast("string")
        drawn = context.engine.hash_number(key)
        if context.settings.repeats == "keep":  # the rows of one item have one hash
            window = ibis.window(group_by=rows[USER_ID], order_by=[drawn, rows[POSITION]])
            drawn = ibis.row_number().over(window)
        positions = rows.mutate(**{POSITION: drawn})
        rows = context.engine.store(positions, "ordering the interactions")
    if timed and order != "timestamp":
        rows = rows.mutate(timestamp=ibis.null("int64"))
    form = f"{unit}, resolution {resolution}s"
    return rows, order, _order_text(order, facts, times, form, hashed=hashed)


def _order_text(order: Order, facts: OrderFacts, times: Times, form: str, *, hashed: bool) -> str:
    way = "ascend" if facts.ascending >= facts.descending else "descend"
    if order == "timestamp" and times.first is not None and times.last is not None:
        ties = percent(facts.ties / facts.steps) if facts.steps else "no"
        text = f"{_day(times.first)} to {_day(times.last)}, {form}, {ties} ties"
        if hashed:
            share = percent(facts.sorted_share(facts.ties))
            text += f"; equal times are drawn by a hash: ids {way} in {share} of them"
        if times.placed:
            rows = "row without a time keeps its" if times.placed == 1 else "rows without a time keep their"
            text += f"; {times.placed:,} {rows} place"
        return text
    if order == "none":
        return "none: the order of the file says nothing"
    return f"none: the file's order counts (ids {way} in {percent(facts.sorted_share(facts.steps))} of steps: not sorted)"


def _order_facts(context: Context, rows: ibis.Table, *, timed: bool) -> OrderFacts:
    """Count the steps of all users, or of a part of them where rows are many."""
    part = -(-context.opened.rows // _SAMPLE)
    if part > 1:
        user = rows[USER_ID]
        key = user if user.type().is_integer() else context.engine.hash_number(user)
        rows = rows.filter(key % part == 0)
    time = rows.timestamp.fill_null(-1)
    window = ibis.window(
        group_by=rows[USER_ID], order_by=[time, rows[POSITION]] if timed else [rows[POSITION]]
    )
    steps = rows.select(
        time=time,
        item=rows[ITEM_ID],
        time_before=time.lag().over(window),
        before=rows[ITEM_ID].lag().over(window),
        change=rows.rating - rows.rating.lag().over(window),
    )
    # From an item to itself, where repeats are kept, is no step up or down.
    steps = steps.filter(steps.before.notnull() & (steps.item != steps.before))
    tie = steps.time == steps.time_before
    counted = tie if timed else ibis.literal(value=True)
    row = context.row(
        steps.agg(
            steps=steps.count(),
            ties=tie.sum().fill_null(0),
            up=((steps.item > steps.before) & counted).sum().fill_null(0),
            down=((steps.item < steps.before) & counted).sum().fill_null(0),
            rising=(steps.change > 0).sum().fill_null(0),
            falling=(steps.change < 0).sum().fill_null(0),
        )
    )
    return OrderFacts(row["steps"], row["ties"], row["up"], row["down"], row["rising"], row["falling"])


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"

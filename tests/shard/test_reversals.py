"""Reversals take back what a booking credited, in parts or whole, and never more in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from shard.accounts import AccountChange, AccountStatus
from shard.commands import Command, Kind, Leg, MoneyState, Original, Terms
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.shard.own_server import OwnShard, as_owner
from tests.support.bank import account_no, again, open_account, transfer
from tests.support.movements import (
    Teller,
    capture,
    delivery,
    forced,
    original_of,
    place,
    reversal,
    reversal_abroad,
    teller_at,
)

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
NOT_REVERSIBLE, EXCEEDED = Outcome.NOT_REVERSIBLE, Outcome.REVERSAL_EXCEEDED


@dataclass(frozen=True, slots=True)
class Cast:
    """A payer with 100.00, and two payees with nothing."""

    payer: int
    payee: int
    other: int


@pytest.fixture
async def cast(shards: Shards) -> Cast:
    """The accounts of one test."""
    shard = shards[1]
    return Cast(await open_account(shard, "100"), *[await open_account(shard) for _ in "ab"])


@pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "one batch"])
@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        (["30"], [POSTED]),
        (["30.01"], [EXCEEDED]),
        (["10", "20"], [POSTED, POSTED]),
        (["10", "10", "10"], [POSTED] * 3),
        (["30", "0.01"], [POSTED, EXCEEDED]),
        (["20", "10.01", "10"], [POSTED, EXCEEDED, POSTED]),
        (["30", "30"], [POSTED, EXCEEDED]),
    ],
    ids=str,
)
async def test_never_more_than_the_original(
    amounts: list[str],
    expected: list[Outcome],
    is_one_batch: bool,
    shards: Shards,
    teller: Teller,
    cast: Cast,
) -> None:
    """All reversals of one credit together stay within it, to the cent."""
    original = transfer(cast.payer, cast.payee, "30")
    await teller.post(original, transfer(cast.payer, cast.payee, "50"))
    commands = [reversal(original, amount) for amount in amounts]

    told: list[Outcome] = []
    for batch in [commands] if is_one_batch else [[each] for each in commands]:
        told += await teller.told(*batch)

    pairs = zip(amounts, expected, strict=True)
    back = sum((Decimal(a) for a, outcome in pairs if outcome is POSTED), Decimal(0))
    assert expected == told
    assert 80 - back == (await shards[1].balances.get(cast.payee)).ledger
    assert 20 + back == (await shards[1].balances.get(cast.payer)).ledger


async def test_a_repeated_reversal_is_a_replay(teller: Teller, cast: Cast) -> None:
    """The same reference takes back once; another amount under it is refused."""
    original = transfer(cast.payer, cast.payee, "30")
    await teller.post(original)
    command = reversal(original, "30")

    (first,) = await teller.post(command)
    (second,) = await teller.post(again(command))
    (other,) = await teller.post(reversal(original, "29", reference=command.reference))

    assert (POSTED, False) == (first.outcome, first.is_replay)
    assert (POSTED, True, first.transfer_id) == (
        second.outcome, second.is_replay, second.transfer_id
    )  # fmt: skip
    assert Outcome.REFERENCE_REUSED is other.outcome


async def test_a_refused_reversal_uses_nothing_up(teller: Teller, cast: Cast) -> None:
    """What could not be taken back for want of funds can be taken back later."""
    original = transfer(cast.payer, cast.payee, "30")
    spent = transfer(cast.payee, cast.other, "30")
    await teller.post(original, spent)

    told = await teller.told(reversal(original, "30"), reversal(spent, "30", creditor=cast.other))
    told += await teller.told(reversal(original, "30"), reversal(original, "0.01"))

    assert [SHORT, POSTED, POSTED, EXCEEDED] == told


def _strangers(cast: Cast, original: Command) -> Mapping[str, Command]:
    named = original_of(original)

    def of(changed: Original) -> Command:
        return replace(reversal(original, "1"), terms=Terms(reverses=changed))

    return {
        "unknown": of(replace(named, transfer_id=new_id())),
        "of another debtor": of(replace(named, home=cast.other)),
        "of the debtor himself": reversal(original, "1", creditor=cast.payer),
        "of somebody else": reversal(original, "1", creditor=cast.other),
    }


@pytest.mark.parametrize(
    "case", ["unknown", "of another debtor", "of the debtor himself", "of somebody else"]
)
async def test_what_is_no_credit_of_the_account_is_not_reversible(
    case: str, shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Only the account that a booking credited gives that money back."""
    original = transfer(cast.payer, cast.payee, "30")
    rich = await open_account(shards[1], "50")
    await teller.post(original, transfer(rich, cast.other, "50"))

    assert [NOT_REVERSIBLE] == await teller.told(_strangers(cast, original)[case])
    assert [POSTED] == await teller.told(reversal(original, "30"))


async def test_a_refused_original_is_not_reversible(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """What was refused has credited nobody."""
    original = transfer(cast.payer, cast.payee, "100.01")
    await teller.post(original, transfer(cast.payer, cast.payee, "100"))

    assert [NOT_REVERSIBLE] == await teller.told(reversal(original, "1"))


@pytest.mark.parametrize("amount", ["100.01", "100"])
async def test_what_is_not_booked_yet_is_not_reversible(
    amount: str, shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A reversal beside its original in one batch finds no credit, whatever becomes of that."""
    await teller.post(transfer(await open_account(shards[1], "50"), cast.payee, "50"))
    original = transfer(cast.payer, cast.payee, amount)

    told = await teller.told(original, reversal(original, "1"))

    assert NOT_REVERSIBLE is told[1]
    expected = [POSTED] if told[0] is POSTED else [NOT_REVERSIBLE]
    assert expected == await teller.told(reversal(original, "1"))


async def test_a_hold_is_not_reversible(teller: Teller, cast: Cast) -> None:
    """What was only held back has credited nobody, not even its only creditor."""
    held = replace(place(cast.payer, "30", "AUTH-1", creditor=cast.payee), creditor=cast.payee)
    paid = capture(cast.payer, cast.payee, "20", "AUTH-1")
    await teller.post(held, paid)

    told = await teller.told(reversal(held, "1"), reversal(paid, "20"), reversal(paid, "0.01"))

    assert [NOT_REVERSIBLE, POSTED, EXCEEDED] == told


async def test_each_creditor_gives_back_its_own_part(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Of an original with several creditors each has a cap of its own."""
    legs = (
        Leg(cast.payer, Decimal(-30)),
        Leg(cast.payee, Decimal(29), cast.payer),
        Leg(cast.other, Decimal(1), cast.payer),
    )
    original = replace(transfer(cast.payer, cast.payee, "30"), legs=legs, creditor=None)
    await teller.post(original, transfer(await open_account(shards[1], "9"), cast.other, "9"))

    told = await teller.told(
        reversal(original, "1.01", creditor=cast.other),
        reversal(original, "1", creditor=cast.other),
        reversal(original, "29", creditor=cast.payee),
        reversal(original, "0.01", creditor=cast.payee),
    )

    assert [EXCEEDED, POSTED, POSTED, EXCEEDED] == told
    assert Decimal(100) == (await shards[1].balances.get(cast.payer)).ledger


async def test_a_reversal_is_reversible_itself(teller: Teller, cast: Cast) -> None:
    """What was taken back by mistake is given again, within what was taken."""
    original = transfer(cast.payer, cast.payee, "30")
    back = reversal(original, "20")
    await teller.post(original)
    await teller.post(back)

    told = await teller.told(reversal(back, "20.01"), reversal(back, "20"))

    assert [EXCEEDED, POSTED] == told


async def test_a_delivery_is_reversed_where_it_was_booked(own: OwnShard) -> None:
    """A credit from another shard is taken back under its cap, and parked for its debtor."""
    payee, debtor = await open_account(own.shard), account_no(2)
    delivered = delivery(1, 2, payee, "30")
    async with teller_at(own.database.dsn) as teller:
        await teller.post(delivered)

        answers = await teller.post(
            reversal_abroad(delivered, debtor, "30.01"),
            reversal_abroad(delivered, debtor, "30"),
            reversal_abroad(delivered, debtor, "0.01"),
        )

    assert [EXCEEDED, POSTED, EXCEEDED] == [answer.outcome for answer in answers]
    assert MoneyState.IN_TRANSIT is answers[1].money_state


async def test_money_that_came_back_is_not_reversible(own: OwnShard) -> None:
    """A return is its debtor's own money: nobody's credit that could be taken back."""
    debtor = await open_account(own.shard)
    returned = delivery(1, 2, debtor, "30", kind=Kind.RETURN)
    async with teller_at(own.database.dsn) as teller:
        await teller.post(returned)

        told = await teller.told(reversal_abroad(returned, account_no(2), "30"))
    assert [NOT_REVERSIBLE] == told


async def test_a_forced_booking_is_reversible(teller: Teller, cast: Cast) -> None:
    """A chargeback that was wrong is taken back like any credit."""
    original = forced(cast.payer, cast.payee, "130")
    await teller.post(original)

    told = await teller.told(reversal(original, "130"), reversal(original, "0.01"))

    assert [POSTED, EXCEEDED] == told


async def _freeze(shards: Shards, account: int) -> None:
    change = AccountChange(status=AccountStatus.FROZEN)
    await shards[1].accounts.change(account, change, actor="t", reason="t")


async def test_a_frozen_debtor_gets_his_money_back(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A reversal credits an account that is frozen: it was its own money."""
    original = transfer(cast.payer, cast.payee, "30")
    await teller.post(original)
    await _freeze(shards, cast.payer)

    assert [POSTED] == await teller.told(reversal(original, "30"))


async def test_a_frozen_creditor_gives_nothing_back(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A reversal debits its creditor by the ordinary rules; a forced booking is another thing."""
    original = transfer(cast.payer, cast.payee, "30")
    await teller.post(original)
    await _freeze(shards, cast.payee)

    told = await teller.told(reversal(original, "30"), forced(cast.payee, cast.payer, "30"))

    assert [Outcome.ACCOUNT_FROZEN, POSTED] == told


async def test_malformed_reversals(teller: Teller, cast: Cast) -> None:
    """SQL is the last guard: each is refused for itself, and the cap stays as it is."""
    original = transfer(cast.payer, cast.payee, "30")
    await teller.post(original)
    asked = reversal(original, "10")
    debit, credit = asked.legs
    ten, five = Decimal(10), Decimal(5)
    twice = (Leg(cast.payee, -five), Leg(cast.payee, -five), credit)
    backwards = (replace(debit, amount=ten), replace(credit, amount=-ten))
    odd = {
        "forced": replace(asked, kind=Kind.FORCED),
        "of another amount": replace(asked, amount=five),
        "of less than is taken": replace(asked, amount=five, legs=twice),
        "backwards": replace(asked, amount=-ten, legs=backwards),
        "without legs": replace(asked, legs=()),
    }

    told = await teller.told(*odd.values())

    assert dict.fromkeys(odd, Outcome.MALFORMED) == dict(zip(odd, told, strict=True))
    assert [POSTED, EXCEEDED] == await teller.told(
        reversal(original, "30"), reversal(original, "0.01")
    )


async def test_many_reversals_of_one_batch_each_have_their_own_cap(
    teller: Teller, cast: Cast
) -> None:
    """Reversals of different originals in one batch do not eat each other's caps."""
    originals = [transfer(cast.payer, cast.payee, "10") for _ in range(3)]
    await teller.post(*originals)

    told = await teller.told(
        *[reversal(originals[n], amount) for n in range(3) for amount in ("6", "5", "4")]
    )

    assert [POSTED, EXCEEDED, POSTED] * 3 == told


async def test_two_deliveries_of_one_transfer_to_one_account_have_a_cap_each(
    own: OwnShard,
) -> None:
    """What one of two items has brought is taken back up to that, whatever the other brought."""
    payee, debtor = await open_account(own.shard, "100"), account_no(2)
    first = delivery(1, 2, payee, "10")
    second = replace(delivery(1, 2, payee, "20"), transfer_id=first.transfer_id)
    async with teller_at(own.database.dsn) as teller:
        await teller.post(first, second)
        wanted = [(first, "10.01"), (second, "15"), (first, "10"), (second, "5.01"),
                  (first, "0.01"), (second, "5")]  # fmt: skip
        told = await teller.told(*[reversal_abroad(each, debtor, a) for each, a in wanted])

    assert [EXCEEDED, POSTED, POSTED, EXCEEDED, EXCEEDED, POSTED] == told
    assert Decimal(100) == (await own.shard.balances.get(payee)).ledger


async def test_the_entry_is_the_evidence_where_the_command_lives_elsewhere(
    own: OwnShard,
) -> None:
    """After a move the creditor's shard has his entries only; they prove his credit as well."""
    payer, payee = await open_account(own.shard, "100"), await open_account(own.shard)
    original = transfer(payer, payee, "30")
    async with teller_at(own.database.dsn) as teller:
        await teller.post(original)
        # What a move of the payer's range alone would leave: his row is on another shard.
        await as_owner(
            own.database,
            "CREATE TABLE ledger.moved AS SELECT * FROM ledger.transfer AS t"
            f" WHERE t.account_no = {payer} AND t.reference = '{original.reference}';"
            f" DELETE FROM ledger.transfer WHERE account_no = {payer}"
            f" AND reference = '{original.reference}'",
        )
        told = await teller.told(
            reversal(original, "30.01"), reversal(original, "30"), reversal(original, "0.01")
        )
        await as_owner(
            own.database,
            "INSERT INTO ledger.transfer SELECT * FROM ledger.moved; DROP TABLE ledger.moved",
        )

    assert [EXCEEDED, POSTED, EXCEEDED] == told

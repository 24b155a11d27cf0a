"""A repair: one item that needs a person, from then until its amount has arrived somewhere.

Its page in Temporal's UI says what happened, where the money is and what can be decided; the
update `decide` carries a decision out. Between decisions it delivers the item by a regular
activity, which shows attempts and the last failure, and can be paused there.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from sagas.limits import (
    REPAIR_CALL_LIMIT_S,
    REPAIR_DECISION_LIMIT_S,
    REPAIR_LOOK_MAX_S,
    REPAIR_LOOK_S,
    REPAIR_SHOW_LIMIT_S,
    REPAIR_STEP_LIMIT_S,
    ROUTE_HEARTBEAT_S,
    ROUTE_PAUSE_MAX_S,
    ROUTE_PAUSE_S,
    ROUTE_RUN_LIMIT_S,
)
from sagas.messages import Step
from sagas.repair_messages import (
    DECIDE,
    DECIDED_MEANWHILE,
    MALFORMED,
    NOT_CARRIED_OUT,
    NOT_KNOWN,
    NOT_YET,
    UNSAFE,
    CarryItemOrder,
    DecideAnswer,
    DecideOrder,
    DecisionReport,
    RepairOrder,
    RepairResult,
    RepairView,
)
from sagas.repair_text import UPDATE_HELP, details, outdated_reason, unsafe_reason
from sagas.search_attributes import (
    DESTINATION_SHARD,
    FAILURE_CODE,
    PARKED_AT,
    SAGA_STATE,
    SAGA_STEP,
    SOURCE_SHARD,
    SagaState,
    SagaStep,
)
from sagas.wishes import Wish, WishMalformed, read_wish
from shard.repair_choice import RepairChoice

_DECISIONS: Final = UUID("5a1e6f0c-0f4e-5c57-9f0e-3d1f1c6f7a11")
"""The namespace of decisions: a decision's id follows from workflow and update."""

_FOR_EVER = RetryPolicy(
    initial_interval=timedelta(seconds=ROUTE_PAUSE_S),
    maximum_interval=timedelta(seconds=ROUTE_PAUSE_MAX_S),
    non_retryable_error_types=["NotFound"],
)
_STEP_LIMIT = timedelta(seconds=REPAIR_STEP_LIMIT_S)


class _Pending:
    """A decision that somebody waits for the answer of."""

    __slots__ = ("answer", "decision", "wish")

    def __init__(self, decision: str, wish: Wish) -> None:
        self.decision = decision
        self.wish = wish
        self.answer: DecideAnswer | None = None


@workflow.defn(name="repair", sandboxed=False)
class RepairWorkflow:
    """One run sees one item to its end; its history is begun anew when long."""

    def __init__(self) -> None:
        self._view: RepairView | None = None
        self._is_doing: tuple[SagaState, SagaStep] | None = None
        self._pending: _Pending | None = None
        self._decisions = 0

    @workflow.run
    async def run(self, order: RepairOrder) -> RepairResult:
        """Look, act, and wait for decisions, until the item is closed."""
        self._decisions = order.decisions
        pause_s = REPAIR_LOOK_S
        while True:
            view = await self._look_for_all(order)
            self._show(order, view)
            if not view.is_open:
                self._answer(DecideAnswer(unsafe_reason(view, RepairChoice.RETRY)))
                await workflow.wait_condition(workflow.all_handlers_finished)
                return RepairResult(view.state, view.attempt, self._decisions)
            if self._pending is None:
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(RepairOrder(order.source, order.item, self._decisions))
                is_decided = await self._rest(order, view, pause_s)
                pause_s = REPAIR_LOOK_S if is_decided else min(2 * pause_s, REPAIR_LOOK_MAX_S)
            if self._pending is not None:
                await self._carry_out(order, view, self._pending)

    @workflow.update(name=DECIDE, description=UPDATE_HELP)
    async def decide(self, told: Any = None) -> DecisionReport:
        """Carry out a decision and tell what the item is doing now."""
        wish = read_wish(told, now=workflow.now())
        pending = _Pending(self._decision_id(), wish)
        self._pending = pending
        await workflow.wait_condition(lambda: pending.answer is not None)
        answer, view = pending.answer, self._view
        if answer is None or answer.refusal is not None or view is None:
            is_known = answer is None or answer.is_known
            refusal = None if answer is None else answer.refusal
            kind = NOT_CARRIED_OUT if is_known else NOT_KNOWN
            raise ApplicationError(refusal or "Nothing was decided.", type=kind)
        return DecisionReport(wish.choice.value, view.state, view.attempt)

    @decide.validator
    def _check(self, told: Any = None) -> None:
        """Refuse what cannot be read, what is unsafe, and a second decision at the same time."""
        try:
            wish = read_wish(told, now=workflow.now())
        except WishMalformed as error:
            raise ApplicationError(str(error), type=MALFORMED) from None
        if self._view is None:
            raise ApplicationError("The item is just being looked at; try again.", type=NOT_YET)
        reason = unsafe_reason(self._view, wish.choice) or outdated_reason(self._view, wish.attempt)
        if reason is not None:
            raise ApplicationError(reason, type=UNSAFE)
        if self._pending is not None:
            message = f"{self._pending.wish.maker}'s decision is just being carried out."
            raise ApplicationError(message, type=DECIDED_MEANWHILE)

    def _decision_id(self) -> str:
        update = workflow.current_update_info()
        # A workflow that was terminated and started again knows nothing of its updates before.
        name = f"{workflow.info().workflow_id}/{workflow.info().run_id}"
        return str(uuid5(_DECISIONS, f"{name}/{update.id if update else self._decisions}"))

    async def _look_for_all(self, order: RepairOrder) -> RepairView:
        """Look, however long that takes; who decides meanwhile is told when it takes too long."""
        looking = asyncio.create_task(self._look(order))
        while not looking.done():
            await workflow.wait_condition(lambda: looking.done() or self._pending is not None)
            if not looking.done():
                await self._bear_with(looking, order)
        return await looking

    async def _bear_with(self, looking: asyncio.Task[RepairView], order: RepairOrder) -> None:
        try:
            limit = timedelta(seconds=REPAIR_DECISION_LIMIT_S)
            await workflow.wait_condition(looking.done, timeout=limit)
        except TimeoutError:
            self._answer(DecideAnswer(f"Shard {order.source} does not answer; nothing was done."))

    async def _look(self, order: RepairOrder, limit: timedelta | None = None) -> RepairView:
        view: RepairView = await workflow.execute_activity(
            Step.LOOK_AT_ITEM,
            order,
            result_type=RepairView,
            start_to_close_timeout=_STEP_LIMIT,
            schedule_to_close_timeout=limit,
            retry_policy=_FOR_EVER,
            summary="Look at the item",
        )
        return view

    def _show(self, order: RepairOrder, view: RepairView) -> None:
        """Bring the page up to date, and what workflows are searched by."""
        is_new = self._view is None
        doing = _doing(view, workflow.now())
        if view == self._view and doing == self._is_doing:
            return
        self._view, self._is_doing = view, doing
        workflow.set_current_details(details(order.source, order.item, view))
        state, step = doing
        code = view.code
        changes: list[SearchAttributeUpdate[Any]] = [
            SAGA_STATE.value_set(state.value),
            SAGA_STEP.value_set(step.value),
            FAILURE_CODE.value_unset() if code is None else FAILURE_CODE.value_set(code),
            DESTINATION_SHARD.value_set(view.destination),
        ]
        if is_new:
            parked_at = datetime.fromisoformat(view.parked_at)
            changes += [SOURCE_SHARD.value_set(order.source), PARKED_AT.value_set(parked_at)]
        workflow.upsert_search_attributes(changes)

    async def _rest(self, order: RepairOrder, view: RepairView, pause_s: float) -> bool:
        """Let time pass until something is decided, or there is reason to look again.

        An item in this workflow's hands is delivered meanwhile, unless it was decided to wait; one
        that others carry is left to them. Tells whether a decision has come.
        """
        left_s = _left_s(view, workflow.now())
        if left_s > 0:
            await self._decided_within(min(left_s, REPAIR_LOOK_MAX_S))
        elif view.state == "parked" and view.carrier == "repair":
            await self._deliver(order)
        elif view.wait_until is not None:
            # The time has come that somebody has put it off until.
            name = f"{workflow.info().workflow_id}/{view.attempt}/{view.wait_until}"
            decision = str(uuid5(_DECISIONS, name))
            if (await self._decide(order, view, decision, None)).refusal is not None:
                await self._decided_within(pause_s)
        else:
            await self._decided_within(pause_s)
        return self._pending is not None

    async def _decided_within(self, seconds: float) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._pending is not None, timeout=timedelta(seconds=seconds)
            )
        except TimeoutError:
            return

    async def _deliver(self, order: RepairOrder) -> None:
        """Deliver the item, however long it takes; a decision that comes meanwhile goes first."""
        delivery = asyncio.create_task(self._carry(order))
        await workflow.wait_condition(lambda: delivery.done() or self._pending is not None)
        if not delivery.done():
            delivery.cancel()
        try:
            await delivery
        except (asyncio.CancelledError, ActivityError) as error:
            if self._pending is None or not is_cancelled_exception(error):
                raise

    async def _carry(self, order: RepairOrder) -> None:
        await workflow.execute_activity(
            Step.CARRY_ITEM,
            CarryItemOrder(order.source, order.item),
            start_to_close_timeout=timedelta(seconds=ROUTE_RUN_LIMIT_S),
            heartbeat_timeout=timedelta(seconds=ROUTE_HEARTBEAT_S),
            retry_policy=_FOR_EVER,
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            summary="Deliver the item",
        )

    async def _carry_out(self, order: RepairOrder, view: RepairView, pending: _Pending) -> None:
        answer = await self._decide(order, view, pending.decision, pending.wish)
        try:
            self._show(order, await self._look(order, timedelta(seconds=REPAIR_SHOW_LIMIT_S)))
        except ActivityError as error:
            # Whoever waits is told all the same; the page follows when the shard is back.
            if is_cancelled_exception(error):
                raise
        self._answer(answer)

    def _answer(self, answer: DecideAnswer) -> None:
        """Answer whoever waits for a decision of his."""
        if self._pending is not None:
            self._pending.answer = answer
            self._pending = None

    async def _decide(
        self, order: RepairOrder, view: RepairView, decision: str, wish: Wish | None
    ) -> DecideAnswer:
        # Whoever names an attempt means that one, also where the page is behind it by now.
        seen = None if wish is None else wish.attempt
        attempt = view.attempt if seen is None else seen
        try:
            decided: DecideAnswer = await workflow.execute_activity(
                Step.DECIDE_ITEM,
                DecideOrder(order.source, order.item, attempt, decision, wish),
                result_type=DecideAnswer,
                start_to_close_timeout=timedelta(seconds=REPAIR_CALL_LIMIT_S),
                schedule_to_close_timeout=timedelta(seconds=REPAIR_DECISION_LIMIT_S),
                retry_policy=_FOR_EVER,
                summary="Decide" if wish is None else f"Decide: {wish.choice}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # Where its worker died it may have been carried out all the same.
            reason = error.cause or error
            sentence = f"It could not be carried out now, or the page says that it was: {reason}"
            return DecideAnswer(sentence, is_known=False)
        if decided.refusal is None:
            self._decisions += 1
        return decided


def _left_s(view: RepairView, now: datetime) -> float:
    """For how many seconds it was decided to wait from now on."""
    if view.wait_until is None:
        return 0.0
    return (datetime.fromisoformat(view.wait_until) - now).total_seconds()


def _doing(view: RepairView, now: datetime) -> tuple[SagaState, SagaStep]:
    if not view.is_open:
        return SagaState.CLOSED, SagaStep.DONE
    if _left_s(view, now) > 0:
        return SagaState.WAITING, SagaStep.DECIDE
    if view.state == "needs_repair":
        return SagaState.STUCK, SagaStep.DECIDE
    return SagaState.WORKING, SagaStep.DELIVER

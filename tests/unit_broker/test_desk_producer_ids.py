"""InitProducerId while the bucket does not answer: ids are leased ahead, and the wait for more is bounded."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

from automq_broker.desk import init_producer_id
from automq_broker.wire.apis.k22_init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from automq_broker.wire.codes import ErrorCode
from twins.engine_world import Life, World
from twins.virtual_time import run_virtual

BLOCK = 1000


async def ask(life: Life) -> InitProducerIdResponse:
    context: Any = SimpleNamespace(desk=SimpleNamespace(engine=life.running.engine))
    return await init_producer_id.handle(InitProducerIdRequest(transactional_id=None), context)


async def started(life: Life) -> None:
    await life.start()
    assert (await ask(life)).error_code == 0


def test_a_bucket_that_goes_away_does_not_stop_new_producers() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            await started(life)
            life.bucket.faults.outage = True
            answers = await asyncio.gather(*(ask(life) for _ in range(BLOCK - 1)))
            assert {answer.error_code for answer in answers} == {0}
            assert len({answer.producer_id for answer in answers}) == BLOCK - 1

    run_virtual(scenario())


def test_the_next_block_is_leased_before_the_present_one_ends() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            await started(life)
            for _ in range(BLOCK * 9 // 10):
                await ask(life)
            await asyncio.sleep(5)
            life.bucket.faults.outage = True
            left = [await ask(life) for _ in range(BLOCK)]
            assert {answer.error_code for answer in left} == {0}

    run_virtual(scenario())


def test_without_ids_the_answer_comes_in_time_and_asking_again_gets_one_once_the_bucket_is_back() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            await started(life)
            life.bucket.faults.outage = True
            await asyncio.gather(*(ask(life) for _ in range(BLOCK - 1)))
            loop = asyncio.get_running_loop()
            asked_at = loop.time()
            late = await ask(life)
            assert late.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            assert (late.producer_id, late.producer_epoch) == (-1, -1)
            assert loop.time() - asked_at <= 5
            life.bucket.faults.outage = False
            while (answer := await ask(life)).error_code:
                assert loop.time() - asked_at < 120
            assert answer.producer_id >= BLOCK

    run_virtual(scenario())


def test_no_id_is_given_twice_over_lives_faults_and_crowds() -> None:
    async def scenario() -> None:
        world, given = World(), []
        for seed in range(3):
            async with world.life() as life:
                await life.start()
                life.bucket.faults.unavailable = life.bucket.faults.timeout_applied = 0.2
                rng = random.Random(seed)
                for _ in range(12):
                    answers = await asyncio.gather(*(ask(life) for _ in range(rng.randrange(1, 400))))
                    given += [answer.producer_id for answer in answers if not answer.error_code]
                    await asyncio.sleep(rng.uniform(0, 30))
        assert len(given) > 3 * BLOCK
        assert len(set(given)) == len(given)

    run_virtual(scenario())

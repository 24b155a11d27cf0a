import asyncio, time, pytest
from tests.chaos.test_kill_shard import *
async def test_hang(bank, client, third):
    debtor = await open_account(bank.shards[1], "100.00")
    neighbour = await open_account(bank.shards[1])
    dead3 = await open_account(bank.shards[3], "50")
    stranger = await open_account(bank.shards[2])
    async def timed(name, coro):
        t=time.monotonic()
        try:
            r = await asyncio.wait_for(coro, 25)
            print(name, r.status_code, r.text[:200], round(time.monotonic()-t,2))
        except BaseException as e: print(name, type(e), e, round(time.monotonic()-t,2))
    async with hung(third):
        await timed("ready", client.get("/readyz?verbose"))
        await timed("ready2", client.get("/readyz?verbose"))
        await timed("shards", client.get("/v1/shards"))
        await timed("metrics", client.get("/metrics"))
        await timed("balance3", client.get(f"/v1/accounts/{dead3}/balance"))
        await timed("post3", client.post("/v1/transfers", json=payment(dead3, debtor)))
        await timed("post1-3", client.post("/v1/transfers", json=payment(debtor, dead3)))
        await timed("post1-2", client.post("/v1/transfers", json=payment(debtor, stranger), headers=WAITED))
        await timed("post1", client.post("/v1/transfers", json=payment(debtor, neighbour)))

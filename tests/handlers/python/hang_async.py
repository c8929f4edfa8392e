import asyncio


async def main(event):
    print("waiting")
    await asyncio.get_running_loop().create_future()

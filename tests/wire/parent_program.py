"""A parent of two workers: `python parent_program.py FOLDER DEED`. It prints how many are ready, whenever that changes."""

import asyncio
import sys

from extproc.workers import Crew, supervise

PROGRAM = __file__.replace("parent_program", "worker_program")


async def main(folder: str, deed: str) -> int:
    crew = Crew(
        2,
        lambda index: [sys.executable, PROGRAM, folder, str(index), deed],
        on_change=lambda ready: print(ready, flush=True),
    )
    return await supervise(crew)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2])))

"""What either side gets: nothing but the numbers that will be asked, and those are hidden."""

import json
import random
from pathlib import Path


def make(out: Path, secret: bytes) -> None:
    for folder in ("participant", "hidden"):
        (out / folder).mkdir(parents=True)
    (out / "participant" / "task.json").write_text("{}")
    numbers = random.Random(secret).sample(range(-40, 40), 20)
    (out / "hidden" / "numbers.json").write_text(json.dumps(numbers))

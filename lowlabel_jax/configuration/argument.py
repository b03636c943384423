"""What stands behind the colon in `--config=configs/x.py:labels=250,budget=laptop`."""

from typing import Any

from lowlabel_jax.core.errors import UserError, nearest


def choose(text: str, **known: tuple) -> dict[str, Any]:
    """ "labels=250" -> {"labels": 250, "budget": "paper"}: for each name one of its known values.

    known: name -> its values, numbers or text; the first is taken where the text leaves it out. A
    text value may stand alone where one name has it: "paper" for "budget=paper".
    Raises UserError for another name or value, with those there are.
    """
    found = {name: values[0] for name, values in known.items()}
    words = [value for values in known.values() for value in values if isinstance(value, str)]
    there = ",".join(f"{name}={'|'.join(map(str, values))}" for name, values in known.items())
    for part in filter(None, text.split(",")):
        name, equals, given = part.partition("=")
        owners = [owner for owner, values in known.items() if part in values]
        if not equals and len(owners) == 1:
            name, given = owners[0], part
        if name not in known:
            raise UserError(
                f"the config takes no argument {part!r}.{nearest(name, [*known, *words])}",
                f"write --config=FILE:{there}, or a part of it.",
            )
        by_text = {str(value): value for value in known[name]}
        if given not in by_text:
            raise UserError(
                f"the config's argument {name} = {given!r} is none of its values."
                f"{nearest(given, by_text)}",
                f"there are: {', '.join(by_text)}.",
            )
        found[name] = by_text[given]
    return found

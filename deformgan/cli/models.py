"""`deformgan models`: what trained models ship."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="Show the card of this one.")] = None,
) -> None:
    """List the trained models that come with the package, or show one's card.

    Example: deformgan models, then deformgan register --model NAME --fixed F --moving M
    """
    from deformgan.registration.models import card, load_model, shipped_models

    if name is not None:
        typer.echo(card(name))
        return
    for known in shipped_models():
        model = load_model(known)
        typer.echo(f"{known}: {model.summary}")

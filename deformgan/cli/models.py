"""`deformgan models`: what trained models ship."""

from __future__ import annotations

from typing import Annotated

import typer

from deformgan.cli.completion import shipped


def models(
    name: Annotated[str | None, typer.Argument(help="Show the card of this one.", autocompletion=shipped)] = None,
) -> None:
    """List the trained models that come with the package, or show one's card.

    Examples:
        deformgan models
        deformgan register -f ct.nii.gz -m mr.nii.gz --model any_contrast
    """
    from deformgan.registration.models import card, load_model
    from deformgan.registration.shipped import shipped_models

    if name is not None:
        typer.echo(card(name))
        return
    for known in shipped_models():
        model = load_model(known)
        typer.echo(f"{known}: {model.summary}")

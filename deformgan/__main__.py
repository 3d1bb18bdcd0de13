"""`python -m deformgan`: the command, for launchers that start a module (torchrun, accelerate)."""

from deformgan.cli.main import main

main()

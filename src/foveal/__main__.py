"""``python -m foveal``: the same as the ``foveal`` command."""

from foveal.cli import main

if __name__ == "__main__":
    main()

"""`python -m shared` is `parkfleet`, for whoever has this interpreter but not its scripts."""

from shared.cli import main

if __name__ == "__main__":
    main()

"""`python -m theseus_fx`: the command line."""

from theseus_fx.cli.main import main

if __name__ == "__main__":
    main()

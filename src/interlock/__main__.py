"""`python -m interlock`: the command line, where the script is not on the path. Not a second one."""

from interlock.faces.cli import main

if __name__ == "__main__":
    main()

"""``python -m netdaemon.cli``: ndtool where its script is not installed."""

from netdaemon.cli.main import run

if __name__ == "__main__":
    run()

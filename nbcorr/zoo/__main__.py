"""``python -m nbcorr.zoo``: what there is, and fetching and training what is not embedded."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nbcorr.zoo.catalogue import catalogue
from nbcorr.zoo.cifar10_images import fetch_cifar10
from nbcorr.zoo.download import FetchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 1 after one sentence on what went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m nbcorr.zoo", description="Models and labelled images to start with."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is, its licence, size, and whether it is here")
    fetch = commands.add_parser("fetch", help="fetch a data set into the cache")
    fetch.add_argument("name", choices=["cifar10"])
    train = commands.add_parser("train", help="train the networks for a data set (minutes)")
    train.add_argument("name", choices=["cifar10"])
    train.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            print(catalogue())
        elif options.command == "fetch":
            fetch_cifar10()
        else:
            from nbcorr.zoo.cifar10_models import train_cifar10

            train_cifar10(options.seed)
    except (FetchError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

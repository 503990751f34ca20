"""`python -m trainyard_recipe`: one process of the training.

Ends with 0 when finished, 2 where the job must be changed, 143 when stopped by SIGTERM, 1 otherwise; 2 and 1 leave a
last word where the cause is known.
"""

import sys
import traceback


def main() -> int:
    from .failure import Failure, known, tell

    name = "the model"
    try:
        from .settings import Settings

        settings = Settings.read()
        name = settings.spec["model_name"]
        from . import train

        return train.run(settings)
    except Failure as failure:
        tell(failure)
        return 2
    except Exception as error:
        traceback.print_exc()
        failure = known(error, name)
        if failure is not None:
            tell(failure)
        return 1


if __name__ == "__main__":
    sys.exit(main())

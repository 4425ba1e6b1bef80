"""The contract of all communicators, as a table of checks: `CHECKS[name](communicator)`.

Every check is collective and runs in worlds of any size. The checks are listed by importing the files that hold them.
"""

import contract_calls
import contract_exchanges
import contract_reductions
from contract_table import CHECKS

__all__ = ["CHECKS", "contract_calls", "contract_exchanges", "contract_reductions"]

"""The warm pool of one worker: who gets which sandbox, when one is booted, when one goes.

    with pool.lease(spec, deadline) as lease:
        outcome = lease.run(call, event, run_deadline, on_log)

`placement` decides (pure), `ledger` keeps the books (no threads, no driver), `pool` holds the lock and the threads
and is the only part that calls the driver.
"""

from workers.pool.actions import PoolClosed, PoolTimeout
from workers.pool.lease import Lease, Waiter
from workers.pool.limits import PoolLimits
from workers.pool.pool import Pool
from workers.pool.stats import PoolStats

__all__ = ["Lease", "Pool", "PoolClosed", "PoolLimits", "PoolStats", "PoolTimeout", "Waiter"]

"""Banks written blind, without a look at the suite's checks, and adopted after they were tried."""

"""Use cases, one function each: open the transaction, decide, write, and act after the commit."""

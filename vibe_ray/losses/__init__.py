"""The paper's losses as masked sums and counts, so that N workers equal one."""

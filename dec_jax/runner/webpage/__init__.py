"""The report of a run or a sweep: one HTML file that needs no network."""

PAGE_FILE = "report.html"
KEPT_FILE = "report.json"  # what the page shows and no other file of its folder has
EXTRA = "report"  # of dec_jax, which brings what makes the page

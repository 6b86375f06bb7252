"""The report of a run or a sweep: one HTML file that needs no network."""

PAGE_FILE = "report.html"
KEPT_FILE = "report.json"  # what the page shows and no other file of its folder has

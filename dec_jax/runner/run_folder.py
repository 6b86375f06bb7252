"""What the files of a finished run are called."""

RESULT_FILE = "result.json"
ASSIGNMENTS_FILE = "assignments.npz"
HISTORY_FILE = "history.csv"
LABELS_OF = "labels_of_"  # before a method's name in assignments.npz; the final ones are "labels"

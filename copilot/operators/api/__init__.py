"""What members of staff ask and do over REST."""

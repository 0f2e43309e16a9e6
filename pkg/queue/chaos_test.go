package queue_test

// workerVariable makes the re-executed test binary a worker on that database until it is killed.
const workerVariable = "RECONCILER_TEST_QUEUE_WORKER"

func workUntilKilled(string) {}

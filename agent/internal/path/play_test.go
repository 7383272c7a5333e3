package path_test

const roleVariable = "EASYFIND_PATH_TEST_ROLE"

func play(string) int { return 1 }

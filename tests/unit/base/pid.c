// SPDX-License-Identifier: Apache-2.0
/* getpid() in this process and in children, by whichever call they were made. */
#include "unit.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t real(void)
{
	return (pid_t)syscall(SYS_getpid);
}

/* Of a child: 0 if it knows who it is, twice. */
static int knows_itself(pid_t parent)
{
	return getpid() == real() && getpid() == real() && getpid() != parent ? 0 : 1;
}

static void is_well(pid_t child)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_LIB_7_getpid_is_right(void **state)
{
	pid_t parent = getpid(), child;

	(void)state;
	assert_int_equal(parent, real());
	child = fork();
	if (!child)
		_exit(knows_itself(parent));
	is_well(child);
	assert_int_equal(getpid(), parent);
}

/* Without libc's help. */
static void test_LIB_7_getpid_after_a_raw_clone(void **state)
{
	pid_t parent = getpid(), child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);

	(void)state;
	if (!child)
		_exit(knows_itself(parent));
	is_well(child);
}

static void test_LIB_7_getpid_of_a_grandchild(void **state)
{
	pid_t parent = getpid(), child = fork();

	(void)state;
	if (!child) {
		pid_t mine = getpid(), grandchild = fork();
		int status;

		if (!grandchild)
			_exit(knows_itself(mine) || knows_itself(parent));
		_exit(waitpid(grandchild, &status, 0) != grandchild || status ||
			knows_itself(parent));
	}
	is_well(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_LIB_7_getpid_is_right),
		cmocka_unit_test(test_LIB_7_getpid_after_a_raw_clone),
		cmocka_unit_test(test_LIB_7_getpid_of_a_grandchild),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

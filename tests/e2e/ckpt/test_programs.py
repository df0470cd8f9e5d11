#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth run`, `checkpoint`, `restore`, `park`, `wake` and `ps` on programs, with real CRIU."""
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import unittest

from programlib import HEARTH, PATIENCE_S, TREE, Programs, course, state, until

PTRACE_SEIZE, PTRACE_DETACH, PTRACE_O_TRACEEXIT = 0x4206, 17, 0x40


def ptrace(request, pid, data):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(data)):
        raise OSError(ctypes.get_errno(), 'ptrace')


class Run(Programs):
    def test_output_and_status_are_passed_on(self):
        done = self.hearth('run', '--', 'sh', '-c', 'echo out; echo err >&2; exit 5', code=5)
        self.assertEqual((done.stdout, done.stderr), ('out\n', 'err\n'))
        self.assertEqual(self.hearth('run', '--', 'sh', '-c', 'kill -TERM $$', code=143).stdout, '')
        self.assertIn('/no/such/program', self.hearth('run', '--', '/no/such/program', code=127).stderr)
        self.assertEqual(os.listdir(os.path.join(self.run_dir, 'programs')), ['.lock'])

    def test_options(self):
        self.assertEqual(self.hearth('run', '--env', 'A=b c', '--', 'sh', '-c', 'echo "$A"').stdout, 'b c\n')
        self.assertIn('CPU only', self.hearth('run', '--verbose', '--', 'true', env={'HEARTH_SHIM': '/no/shim'}).stderr)
        for words in (('run',), ('run', '--env', 'x', '--', 'true'), ('run', '--wrong', '--', 'true'), ('checkpoint',), ('checkpoint', 'a', 'b'), ('restore',),
                      ('checkpoint', '--stop', '--every', '1s', 'a'), ('checkpoint', '--keep', '3', 'a'), ('checkpoint', '--zstd', '99', 'a'), ('restore', '--wrong', 'a')):
            self.assertIn('usage:', self.hearth(*words, code=2).stderr)
        self.assertIn('no program "nobody"', self.hearth('checkpoint', 'nobody', code=1).stderr)
        self.assertIn('"a/b" is no name', self.hearth('run', '--name', 'a/b', '--', 'true', code=1).stderr)

    def test_signals_are_passed_on(self):
        with subprocess.Popen([HEARTH, '--run', self.run_dir, 'run', '--', 'sh', '-c', 'trap "echo term; exit 3" TERM; echo ready; while :; do sleep 0.01; done'], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True) as p:
            self.assertEqual(p.stdout.readline(), 'ready\n')
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.stdout.read(), 'term\n')
            self.assertEqual(p.wait(PATIENCE_S), 3)

    def test_names(self):
        self.start('one')
        self.assertIn('already', self.hearth('run', '--name', 'one', '--', 'true', code=1).stderr)
        self.hearth('run', '-d', '--', 'sleep', '1000')
        self.hearth('run', '-d', '--', 'sleep', '1000')
        names = {p['name']: p['state'] for p in self.json('ps')['programs']}
        self.assertEqual(names, {'one': 'running', 'sleep': 'running', 'sleep-2': 'running'})
        self.kill('one')
        until(lambda: self.json('ps', 'one')['programs'][0]['state'] == 'ended', 'the end is noted')
        self.start('one')       # one that ended makes room


    def test_many_at_once(self):
        """Each gets a name of its own, also while others begin, and while those of before are found to have ended."""
        many = 40
        for _ in range(2):
            begun = [subprocess.Popen([HEARTH, '--run', self.run_dir, '--json', 'run', '-d', '--', 'sleep', '1000'], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for _ in range(many)]
            said = [json.loads(p.communicate()[0]) for p in begun]
            self.assertEqual({p.returncode for p in begun}, {0})
            self.assertEqual(len({o['name'] for o in said}), many)
            shown = [p for p in self.json('ps')['programs'] if p['state'] == 'running']
            self.assertEqual({(p['name'], p['pid']) for p in shown}, {(o['name'], o['pid']) for o in said})
            for o in said:
                os.kill(o['pid'], signal.SIGKILL)
            until(lambda pids=[o['pid'] for o in said]: all(state(pid) is None for pid in pids), 'all are gone')

    def test_one_of_many_gets_the_name_of_one_that_ended(self):
        self.kill_and_wait(self.start_words('n', 'sleep', '1000'))
        begun = [subprocess.Popen([HEARTH, '--run', self.run_dir, 'run', '-d', '--name', 'n', '--', 'sleep', '1000'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  text=True) for _ in range(10)]
        said = [p.communicate()[1] for p in begun]
        self.assertEqual(sorted(p.returncode for p in begun), [0] + [1] * 9)
        self.assertEqual(sum('choose another --name' in text for text in said), 9)

    @staticmethod
    def kill_and_wait(pid):
        os.kill(pid, signal.SIGKILL)
        until(lambda: state(pid) is None, 'it is gone')

    def test_killed_while_it_claims_a_name(self):
        done = self.hearth('run', '-d', '--name', 'n', '--', 'sleep', '1000', code=None, env={'HEARTH_FAULT': 'program-claimed'})
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.start_words('n', 'sleep', '1000')

    def test_no_such_command(self):
        for words in ((), ('-d',)):
            done = self.hearth('run', *words, '--', '/no/such/command', code=127)
            self.assertEqual(done.stderr, 'hearth: cannot run /no/such/command: No such file or directory\n')
        self.assertEqual(os.listdir(os.path.join(self.run_dir, 'programs')), ['.lock'])

    def test_damaged_record(self):
        """It is shown, it is said what to do, and that helps."""
        pid = self.start_words('n', 'sleep', '1000')
        folder = os.path.join(self.run_dir, 'programs', 'n')
        with open(os.path.join(folder, 'program.json'), 'rb') as file:
            whole = file.read()
        for text in (b'', b'garbage', b'{"version":1}', whole[:-5], whole.replace(b'running', b'rubbish')):
            with open(os.path.join(folder, 'program.json'), 'wb') as file:
                file.write(text)
            self.assertEqual([(p['name'], p['state'], p['pid']) for p in self.json('ps')['programs']], [('n', 'damaged', 0)])
            for words in (('checkpoint', 'n', '--to', self.store), ('wake', 'n'), ('run', '-d', '--name', 'n', '--', 'sleep', '1000')):
                done = self.hearth(*words, code=1)
                self.assertIn(f'{folder}/program.json is damaged: end the program', done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1)
        self.kill_and_wait(pid)
        shutil.rmtree(folder)
        self.start_words('n', 'sleep', '1000')

    def test_park_takes_no_options(self):
        pid = self.start_words('n', 'sleep', '1000')
        for words in (('park', 'n', '--to', self.store), ('wake', '-d', 'n')):
            self.assertIn('no options', self.hearth(*words, code=2).stderr)
        self.assertEqual(state(pid), 'S')


class Course(Programs):
    """What is restored goes on exactly as if nothing had been."""

    def test_killed_and_restored(self):
        self.start()
        self.goes_on(by=50)
        made = self.checkpoint()
        self.goes_on(by=20)
        self.kill()
        before = self.check_course()
        for words in ((), ('--eager',), ('--verify',)):
            back = self.restore(made['image'], *words)
            self.assertEqual(back['pid'], made['pid'])
            self.goes_on(by=30)
            self.kill()
        lines = self.check_course()
        self.assertLess(int(lines[len(before)].split()[0]), len(before))        # it went back

    def test_criu_told_of_everything(self):
        """Without the library that takes memory out of CRIU's sight, images are the same, and it is said."""
        self.start(mib=48)
        self.goes_on(by=30)
        self.assertNotIn('CRIU maps', ' '.join(self.checkpoint()['notes']))
        all_told = self.checkpoint(env={'HEARTH_CRIU_LEAVE': '/no/such/library'})
        self.assertIn('CRIU maps memory that it need not', ' '.join(all_told['notes']))
        self.kill()
        self.restore(all_told['image'])
        self.goes_on(by=20)
        again = self.checkpoint()
        self.assertAlmostEqual(again['bytes'] / all_told['bytes'], 1, delta=.02)
        self.kill()
        self.restore(again['image'], '--eager')
        self.goes_on(by=20)
        self.check_course(mib=48)

    def test_lazily(self):
        self.start(mib=48)
        self.goes_on(by=30)
        made = self.checkpoint()
        self.kill()
        self.assertTrue(self.restore(made['image'])['lazy'])
        again = self.checkpoint()               # waits until all of it is in
        self.goes_on(by=50)
        self.assertLess(again['new_bytes'], made['new_bytes'] // 2)
        self.kill()
        self.restore(again['image'])
        self.goes_on(by=20)
        self.check_course(mib=48)

    def test_attached_with_its_status(self):
        steps = 300
        self.start(steps=steps)
        self.goes_on(by=50)
        image = self.checkpoint()['image']
        self.kill()
        done = self.hearth('restore', image, '--store', self.store, code=7)
        lines = done.stdout.splitlines()
        self.assertEqual(lines, course(steps, self.MIB)[-len(lines):])
        self.assertIn('runs again', done.stderr)
        self.assertFalse([p for p in os.listdir(os.path.join(self.run_dir, 'programs')) if p == 't'])

    def test_second_image_is_small(self):
        self.start(mib=32)
        self.goes_on(by=10)
        first, second = self.checkpoint(), self.checkpoint()
        self.assertGreater(first['new_bytes'], 32 << 20)
        self.assertLess(second['new_bytes'], first['new_bytes'] // 2)
        self.kill()
        self.hearth('images', 'verify', second['image'], '--store', self.store)
        self.restore(second['image'])
        self.goes_on()
        self.check_course(mib=32)

    def test_compressed(self):
        self.start()
        self.goes_on(by=5)
        image = self.checkpoint('t', '--zstd', '1')['image']
        self.kill()
        self.restore(image)
        self.goes_on()
        self.check_course()

    def test_park_and_wake(self):
        self.start()
        self.goes_on(by=10)
        made = self.checkpoint('t', '--stop')
        until(lambda: state(made['pid']) is None, 'it is gone')
        self.assertEqual(self.json('ps', 't')['programs'][0]['state'], 'parked')
        self.assertIn('parked', self.hearth('checkpoint', 't', '--to', self.store, code=1).stderr)
        self.hearth('wake', 't')
        self.goes_on()
        self.check_course()
        self.assertIn('not parked', self.hearth('wake', 't', code=1).stderr)
        lines = self.lines()
        self.assertEqual(lines, course(len(lines), self.MIB))            # not a line twice, none lost

    def test_parked_under_the_eyes_of_its_relay(self):
        path = os.path.join(self.dir, 'out')
        with open(path, 'w', encoding='utf-8') as out, subprocess.Popen([HEARTH, '--run', self.run_dir, 'run', '--name', 'a', '--', TREE, '100000', '4', '2000'], stdout=out,
                                                                         stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as p:
            until(lambda: os.path.getsize(path), 'it prints')
            self.checkpoint('a', '--stop')
            errors = p.communicate(timeout=PATIENCE_S)[1]
            self.assertEqual(p.returncode, 0, errors)
            self.assertIn('hearth wake a', errors)
        self.hearth('wake', 'a')
        self.goes_on('a')
        with open(path, encoding='utf-8') as file:
            lines = [*file.read().splitlines(), *self.lines('a')]
        self.assertEqual(lines, course(len(lines), 4))                          # what it wrote last was not lost, and nothing came twice

    def test_series(self):
        self.start()
        self.goes_on(by=5)
        other = self.checkpoint()['image']
        done = self.hearth('checkpoint', 't', '--to', self.store, '--every', '0s', '--keep', '2', '--count', '5')
        self.assertEqual(done.stdout.count('of them new'), 5)
        self.assertEqual(sorted(self.images()), sorted([other, 't-5', 't-6']))
        self.kill()
        self.restore('t-6')
        self.goes_on()
        self.check_course()

    def test_series_ends_with_the_program(self):
        stop = os.path.join(self.dir, 'stop')
        self.start_words('t', 'sh', '-c', f'while [ ! -e {stop} ]; do sleep 0.01; done')
        self.checkpoint()
        with subprocess.Popen([HEARTH, '--run', self.run_dir, 'checkpoint', 't', '--to', self.store, '--every', '0s', '--keep', '1'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL) as series:
            until(lambda: len(self.images()) > 1, 'the first of the series')
            with open(stop, 'w', encoding='utf-8'):
                pass
            self.assertIn(series.wait(PATIENCE_S), (0, 1))                      # 1: it ended in the middle of one
        self.assertLessEqual(len(self.images()), 2)                             # with the one from before, which is not of the series

    def test_pre_dump(self):
        self.start(mib=32)
        self.goes_on(by=5)
        made = self.checkpoint('t', '--pre-dump')
        self.assertEqual(made['ms']['stop'], 0)
        self.assertIn('pre-dump', self.hearth('restore', made['image'], '--store', self.store, code=1).stderr)
        self.assertLess(self.checkpoint()['new_bytes'], made['new_bytes'] // 2)


    def test_what_devices_write(self):
        """A file opened with O_DIRECT: its data come past the page tables, so nothing is taken on trust."""
        path = os.path.join(self.dir, 'direct')
        code = (f'import mmap,os,time\nopen("{path}","wb").write(b"x"*4096)\nfd=os.open("{path}",os.O_RDONLY|os.O_DIRECT)\nb=mmap.mmap(-1,4096,flags=mmap.MAP_PRIVATE)\nn=0\n'
                'while True: os.preadv(fd,[b],0); print(n,b[0],flush=True); n+=1; time.sleep(0.01)\n')
        self.start_words('d', '/usr/bin/python3', '-c', code)
        until(lambda: len(self.lines('d')) > 3, 'it reads')
        made = self.checkpoint('d')
        self.assertIn('O_DIRECT', ' '.join(made['notes']))
        self.kill('d')
        self.restore(made['image'])
        self.goes_on('d')


class Refused(Programs):
    """One clear error, and the program runs on."""

    def refused(self, name, *words, **keys):
        done = self.hearth('checkpoint', name, '--to', self.store, code=1, **keys)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(self.images(), [])

    def test_terminal(self):
        master, slave = os.openpty()
        with subprocess.Popen(['sleep', '1000'], stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as p:
            self.hearth('images', '--store', self.store, code=None)
            done = self.hearth('checkpoint', str(p.pid), '--to', self.store, code=1)
            self.assertIn('terminal', done.stderr)
            self.assertNotEqual(state(p.pid), None)
            p.kill()
        os.close(master)
        os.close(slave)

    def test_session_of_another(self):
        with subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
            self.assertIn('session', self.hearth('checkpoint', str(p.pid), '--to', self.store, code=1).stderr)
            p.kill()

    def test_not_root(self):
        done = subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', HEARTH, '--run', os.path.join(self.dir, 'nobody'), 'checkpoint', str(os.getpid()), '--to',
                               os.path.join(self.dir, 'x')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn('needs root', done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1)
        os.chmod(self.dir, 0o755)
        own = os.path.join(self.dir, 'own')
        os.mkdir(own)
        os.chown(own, 65534, 65534)
        done = subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'env', '-u', 'HEARTH_RUN', f'XDG_RUNTIME_DIR={own}', HEARTH, 'run', '--', 'echo', 'hello'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S)
        self.assertEqual((done.returncode, done.stdout), (0, 'hello\n'), done)

    def test_no_criu(self):
        self.start()
        self.goes_on(by=1)
        done = self.hearth('checkpoint', 't', '--to', self.store, code=1, env={'HEARTH_CRIU': '/no/criu'})
        self.assertIn('/no/criu', done.stderr)
        self.goes_on()

    def test_two_at_once(self):
        self.start()
        self.goes_on(by=1)
        # whoever holds the lock is at work; here it is us
        with open(os.path.join(self.run_dir, 'programs', '.lock'), 'wb') as lock:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack('hh4xqqi4x', fcntl.F_WRLCK, os.SEEK_SET, self.record()['pid'], 1, 0))
            done = self.hearth('checkpoint', 't', '--to', self.store, code=1)
        self.assertIn('in progress', done.stderr)
        begun = [subprocess.Popen([HEARTH, '--run', self.run_dir, 'checkpoint', 't', '--to', self.store], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
                 for _ in range(4)]
        said = [p.communicate()[1] for p in begun]
        self.assertEqual(len(self.images()), sum(p.returncode == 0 for p in begun))
        for p, text in zip(begun, said):
            self.assertTrue(p.returncode == 0 or (p.returncode == 1 and 'in progress' in text), said)
        self.goes_on()
        self.checkpoint()

    def test_a_process_that_nobody_began_with_us(self):
        with subprocess.Popen(['sh', '-c', 'n=0; while :; do n=$((n+1)); sleep 0.01; done'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True) as p:
            made = self.checkpoint(str(p.pid))
            self.assertEqual(made['image'], f'pid-{p.pid}-1')
            p.kill()
        self.restore(made['image'])
        self.assertNotEqual(state(made['pid']), None)
        self.kill(f'pid-{p.pid}')


    def test_store_that_cannot_be_written(self):
        self.start()
        self.goes_on(by=1)
        where = os.path.join(self.dir, 'mounted')
        os.mkdir(where)
        subprocess.run(['mount', '-t', 'tmpfs', 'none', where], check=True)
        self.addCleanup(subprocess.run, ['umount', where], check=True)
        self.json('checkpoint', 't', '--to', where + '/store')
        subprocess.run(['mount', '-o', 'remount,ro', where], check=True)
        for words in (('checkpoint', 't', '--to', where + '/store'), ('restore', 't-1', '--store', where + '/store', '-d'), ('images', '--store', where + '/store')):
            done = self.hearth(*words, code=1)
            self.assertIn(where + '/store', done.stderr)
            self.assertIn('mount it writable', done.stderr)
            self.assertEqual(done.stderr.count('\n'), 1)
        self.goes_on()

    def test_disk_full(self):
        """In the middle of a dump, and from the beginning; the space is free again, and the program runs on."""
        pid = self.start(mib=16)
        self.goes_on(by=1)
        where = os.path.join(self.dir, 'mounted')
        os.mkdir(where)
        for size in ('16k', '8m'):
            subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', where], check=True)
            self.addCleanup(subprocess.run, ['umount', where], check=True)
            for words in ((), ('--zstd', '1')):
                done = self.hearth('checkpoint', 't', '--to', where + '/store', *words, code=1)
                self.assertIn(f'cannot write to {where}/store: No space left on device; remove images', done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1)
                self.goes_on()
            self.assertEqual([f for _, _, files in os.walk(where) for f in files if f not in ('lock', 'store.json')], [])
        self.assertEqual(self.record()['pid'], pid)
        self.check_course(mib=16)


    def test_no_room_for_criu(self):
        self.start()
        self.goes_on(by=1)
        image = self.checkpoint()['image']

        def with_little(*words):
            done = subprocess.run(['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=64k none /dev/shm && "$@"; r=$?; ls -A /dev/shm; exit $r', 'sh', HEARTH, '--run', self.run_dir, *words],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False, text=True, timeout=PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (1, ''), done)
            self.assertEqual(done.stderr, 'hearth: no room is left for CRIU\'s files in /dev/shm; free some, or make it larger\n')

        with_little('checkpoint', 't', '--to', self.store)
        self.goes_on()
        self.kill()
        with_little('restore', image, '--store', self.store, '-d')
        self.restore(image)
        self.goes_on()
        self.check_course()


class Restored(Programs):
    def test_two_at_once(self):
        """One brings it back; the others say so, and leave it alone."""
        self.start()
        self.goes_on(by=1)
        image = self.checkpoint()['image']
        self.kill()
        begun = [subprocess.Popen([HEARTH, '--run', self.run_dir, 'restore', image, '--store', self.store, '-d'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  text=True) for _ in range(4)]
        said = [p.communicate()[1] for p in begun]
        self.assertEqual(sorted(p.returncode for p in begun), [0, 1, 1, 1], said)
        for text in said:
            self.assertTrue('runs again' in text or 'in progress' in text or 'does the program still run' in text, said)
        self.goes_on()
        self.check_course()

    def test_image_of_another_user(self):
        self.start()
        self.goes_on(by=1)
        image = self.checkpoint()['image']
        self.kill()
        for path in (self.store, os.path.join(self.store, 'images', image)):
            os.chown(path, 65534, 65534)
            self.assertIn(f'{path} belongs to user 65534', self.hearth('restore', image, '--store', self.store, '-d', code=1).stderr)
            os.chown(path, 0, 0)
        os.chmod(self.store, 0o777)
        self.assertIn('may be written by others than root', self.hearth('restore', image, '--store', self.store, '-d', code=1).stderr)
        os.chmod(self.store, 0o755)
        self.restore(image)
        self.goes_on()

    def test_pid_in_use(self):
        self.start()
        self.goes_on(by=1)
        image = self.checkpoint()['image']
        self.assertIn('does the program still run', self.hearth('restore', image, '--store', self.store, '-d', code=1).stderr)
        self.goes_on()

    def test_pid_of_one_that_was_not_waited_for(self):
        with subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as p:
            image = self.checkpoint(str(p.pid))['image']
            p.kill()
            done = self.hearth('restore', image, '--store', self.store, '-d', code=1)
            self.assertIn('was not waited for by its parent', done.stderr)
            # its parent does so while the restore waits
            with subprocess.Popen([HEARTH, '--run', self.run_dir, 'restore', image, '--store', self.store, '-d'], stdin=subprocess.DEVNULL) as restore:
                p.wait()
            self.assertEqual(restore.returncode, 0)
        self.kill(f'pid-{p.pid}')

    def test_pid_of_one_that_was_just_killed(self):
        """It is not gone yet, and not a zombie: memory takes its time to go. Here somebody holds it where it has been killed and has not begun to exit."""
        with subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as p:
            image = self.checkpoint(str(p.pid))['image']
            ptrace(PTRACE_SEIZE, p.pid, PTRACE_O_TRACEEXIT)
            p.kill()
            until(lambda: state(p.pid) == 't', 'it is held')
            done = self.hearth('restore', image, '--store', self.store, '-d', code=1)
            self.assertIn('was killed but is not gone yet', done.stderr)
            # it goes while the restore waits
            with subprocess.Popen([HEARTH, '--run', self.run_dir, 'restore', image, '--store', self.store, '-d'], stdin=subprocess.DEVNULL) as restore:
                ptrace(PTRACE_DETACH, p.pid, 0)
                p.wait()
            self.assertEqual(restore.returncode, 0)
        self.kill(f'pid-{p.pid}')

    def test_files_that_grew(self):
        path = os.path.join(self.dir, 'data')
        with open(path, 'w', encoding='utf-8'):
            pass
        self.start_words('w', 'sh', '-c', f'exec 5>>{path}; n=0; while :; do echo $n >&5; n=$((n+1)); sleep 0.01; done')
        until(lambda: os.path.getsize(path) > 20, 'it writes')
        image = self.checkpoint('w')['image']
        size = os.path.getsize(path)
        until(lambda: os.path.getsize(path) > size + 10, 'it writes on')
        self.kill('w')
        done = self.hearth('restore', image, '--store', self.store, '-d', code=1)
        self.assertIn(path, done.stderr)
        self.assertIn('--rewind-files', done.stderr)
        self.restore(image, '--rewind-files')
        until(lambda: os.path.getsize(path) > size + 10, 'it writes again')
        self.kill('w')
        self.assertTrue(os.path.exists(f'{path}.after-{image}'))
        with open(path, encoding='utf-8') as file:
            numbers = [int(line) for line in file.read().splitlines()]
        self.assertEqual(numbers, list(range(len(numbers))))
        os.truncate(path, 3)
        self.assertIn('can\'t be brought back', self.hearth('restore', image, '--store', self.store, '-d', '--rewind-files', code=1).stderr)


class Sockets(Programs):
    """Whole lines are written at once, so that none is in part of one incarnation and in part of another."""
    SAY = ('import os, socket, sys, time\n'
           'def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())\n'
           'def get(s, n):\n'
           '  got = b""\n'
           '  while len(got) < n:\n'
           '    more = s.recv(n - len(got))\n'
           '    if not more: say("END", "of a connection after", len(got)); os._exit(1)\n'
           '    got += more\n'
           '  return got\n')

    def talks(self, code):
        """Checkpointed, killed, and restored, twice out of the same image: both words of a line are always the same."""
        self.start_words('s', '/usr/bin/python3', '-c', self.SAY + code)
        until(lambda: len(self.lines('s')) > 10, 'it talks')
        image = self.checkpoint('s')['image']
        until(lambda: len(self.lines('s')) > 20, 'it talks on')
        for _ in range(2):
            self.kill('s')
            n = len(self.lines('s'))
            self.restore(image)
            until(lambda: len(self.lines('s')) > n + 10, 'it talks again')
        self.kill('s')
        for line in self.lines('s'):
            self.assertEqual(*line.split(' ', 1))

    def test_within_a_process(self):
        self.talks('a = socket.create_server(("127.0.0.1", 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept(); u, v = socket.socketpair()\n'
                   'n = 0\n'
                   'while True:\n'
                   '  word = b"%08d" % n; b.sendall(word); u.send(word); say(get(c, 8).decode(), get(v, 8).decode()); n += 1; time.sleep(0.005)\n')

    # one side is always five words ahead, so that there is always something that was sent and not read, and (Nagle) something that was not sent
    AHEAD = ('if os.fork() == 0:\n'
             '  n = 0\n'
             '  while True:\n'
             '    b.sendall(b"%08d" % n)\n'
             '    if n >= 5 and int(get(b, 8)) != n - 5: say("WRONG", "answer")\n'
             '    n += 1; time.sleep(0.002)\n'
             'n = 0\n'
             'while True:\n'
             '  word = get(c, 8); c.sendall(word); say(n, int(word)); n += 1; time.sleep(0.002)\n')

    def test_between_processes(self):
        self.talks('a = socket.create_server(("127.0.0.1", 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept()\n' + self.AHEAD)

    def test_server_of_both_families(self):
        self.talks('a = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True); b = socket.create_connection(("127.0.0.1", a.getsockname()[1])); c, _ = a.accept()\n' +
                   self.AHEAD)

    def test_full_in_both_directions(self):
        """More than the windows take: part of it was never sent when the checkpoint is made, and all of it comes out of the image."""
        stop = os.path.join(self.dir, 'full')
        self.start_words('s', '/usr/bin/python3', '-c', self.SAY +
                         'a = socket.create_server(("127.0.0.1", 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept()\n'
                         'def fill(s):\n'
                         '  n = 0\n'
                         '  s.setblocking(False)\n'
                         '  while True:\n'
                         '    try: n += s.send(b"".join(b"%08d" % k for k in range(n // 8, n // 8 + 512))[n % 8:])\n'
                         '    except BlockingIOError: s.setblocking(True); return n\n'
                         'def drain(s, n):\n'
                         '  got = get(s, n); return n if got == b"".join(b"%08d" % k for k in range(n // 8 + 1))[:n] else "WRONG"\n'
                         'x, y = fill(b), fill(c); say(0, 0)\n'
                         f'while not os.path.exists("{stop}"): time.sleep(0.005)\n'
                         'say(x, drain(c, x)); say(y, drain(b, y)); b.sendall(b"12345678"); say(int(get(c, 8)), 12345678)\n'
                         'while True: time.sleep(1)\n')
        until(lambda: self.lines('s'), 'it is full')
        image = self.checkpoint('s')['image']
        self.kill('s')
        self.restore(image)
        with open(stop, 'w', encoding='utf-8'):
            pass
        until(lambda: len(self.lines('s')) == 4, 'all came out')
        for line in self.lines('s'):
            self.assertEqual(*line.split(' ', 1))

    def test_outside(self):
        """A connection that leads out of the tree goes on when the program does, and is closed after a restore."""
        with socket.create_server(('127.0.0.1', 0)) as server:
            self.start_words('s', '/usr/bin/python3', '-c', self.SAY + f'b = socket.create_connection(("127.0.0.1", {server.getsockname()[1]}))\n'
                             'while True:\n'
                             '  try: word = b.recv(8)\n'
                             '  except OSError: word = b""\n'
                             '  say(word.decode() or "closed"); time.sleep(0.005 if word else 1)\n')
            with server.accept()[0] as connection:
                connection.sendall(b'before')
                until(lambda: self.lines('s') == ['before'], 'it listens')
                image = self.checkpoint('s')['image']
                connection.sendall(b'after')
                until(lambda: self.lines('s') == ['before', 'after'], 'it goes on')
                self.kill('s')
            self.restore(image)
            until(lambda: 'closed' in self.lines('s'), 'it is told')


if __name__ == '__main__':
    unittest.main(verbosity=2)

/* WebSocket text frames in and out, as dhtwisted/transports/websocket/frames.py does it in Python.
 *
 * This module is optional: where it is not built, Python does the work. Both must give the same results for all input;
 * tests/transports/websocket/test_speedups.py checks that. It uses only the stable part of Python's C interface, so one build works
 * with all versions of Python from 3.11 on. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* The kind of the rest; the same numbers as in frames.py. */
enum { FOR_AUTOBAHN = 0, UNFINISHED = 1, FOR_LATER = 2 };

enum {
    PLAIN_TEXT = 0x81,   /* whole, not fragmented, not compressed */
    MASKED = 0x80,
    LENGTH_FOLLOWS = 126,
    LONG_LENGTH_FOLLOWS = 127,
    HEADER = 6,          /* bytes before the payload of a frame of less than 126: two, and four of the mask */
    MASK = 4,
};

/* Undo a mask (RFC 6455, section 5.3). Returns whether the payload is ASCII. */
static int
unmask(uint8_t *payload, const uint8_t *masked, Py_ssize_t length, const uint8_t *mask)
{
    uint32_t word;
    uint64_t key, chunk, seen = 0;
    Py_ssize_t at = 0;

    memcpy(&word, mask, MASK);
    key = (uint64_t)word << 32 | word;
    for (; at + 8 <= length; at += 8) {
        memcpy(&chunk, masked + at, 8);
        chunk ^= key;
        seen |= chunk;
        memcpy(payload + at, &chunk, 8);
    }
    for (; at < length; at++) {
        payload[at] = masked[at] ^ mask[at & 3];
        seen |= payload[at];
    }
    return !(seen & UINT64_C(0x8080808080808080));
}

/* Returns 1 for UTF-8, 0 for other bytes, -1 with an exception if memory is used up. With may_be_cut, a character may be cut at the end. */
static int
is_utf8(const uint8_t *payload, Py_ssize_t length, int may_be_cut)
{
    Py_ssize_t whole = length;
    PyObject *text = PyUnicode_DecodeUTF8Stateful((const char *)payload, length, NULL, may_be_cut ? &whole : NULL);

    if (text == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(text);
    /* The decoder waits for the third byte of a surrogate, since some error handlers permit surrogates. */
    return !(whole + 1 < length && payload[whole] == 0xed && payload[whole + 1] >= 0xa0);
}

/* The kind of an unfinished frame whose header is there: UNFINISHED while its bytes may be UTF-8. -1 with an exception. */
static int
kind_of_unfinished(const uint8_t *masked, Py_ssize_t length, const uint8_t *mask)
{
    uint8_t *payload;
    int is_valid = 1;

    if (length <= 0)
        return UNFINISHED; /* Even the mask may be incomplete. */
    payload = PyMem_Malloc(length);
    if (payload == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (!unmask(payload, masked, length, mask))
        is_valid = is_utf8(payload, length, 1);
    PyMem_Free(payload);
    return is_valid < 0 ? -1 : is_valid ? UNFINISHED : FOR_AUTOBAHN;
}

/* The kind of less than HEADER bytes: UNFINISHED if they may be the beginning of a plain text frame. */
static int
kind_of_beginning(const uint8_t *rest, Py_ssize_t available, Py_ssize_t limit)
{
    Py_ssize_t length;

    if (available == 0 || rest[0] != PLAIN_TEXT)
        return FOR_AUTOBAHN;
    if (available == 1)
        return UNFINISHED;
    length = rest[1] - MASKED;
    if (length < 0 || length == LONG_LENGTH_FOLLOWS)
        return FOR_AUTOBAHN;
    if (length == LENGTH_FOLLOWS) {
        if (available < 4)
            return UNFINISHED;
        length = rest[2] << 8 | rest[3];
        if (length < LENGTH_FOLLOWS)
            return FOR_AUTOBAHN;
    }
    return length <= limit ? UNFINISHED : FOR_AUTOBAHN;
}

/* The payload of a whole frame as bytes. NULL without an exception if it is not UTF-8. */
static PyObject *
payload_of(const uint8_t *masked, Py_ssize_t length, const uint8_t *mask)
{
    PyObject *payload = PyBytes_FromStringAndSize(NULL, length);
    uint8_t *start;
    int is_valid = 1;

    if (payload == NULL)
        return NULL;
    start = (uint8_t *)PyBytes_AsString(payload);
    if (!unmask(start, masked, length, mask))
        is_valid = is_utf8(start, length, 0);
    if (is_valid <= 0) {
        Py_DECREF(payload);
        return NULL;
    }
    return payload;
}

/* Append the payloads of whole frames to a list. Sets the position of the first frame that was not taken; returns the kind of the rest, or -1
 * with an exception. */
static int
split(const uint8_t *data, Py_ssize_t available, Py_ssize_t limit, Py_ssize_t most, PyObject *payloads, Py_ssize_t *position)
{
    Py_ssize_t at = 0, count = 0;

    for (; *position = at, at + HEADER <= available; count++) {
        const uint8_t *frame = data + at;
        Py_ssize_t start = HEADER, length = frame[1] - MASKED;
        PyObject *payload;

        if (count == most)
            return FOR_LATER;
        if (frame[0] != PLAIN_TEXT || length < 0 || length == LONG_LENGTH_FOLLOWS)
            return FOR_AUTOBAHN;
        if (length == LENGTH_FOLLOWS) {
            length = frame[2] << 8 | frame[3];
            start += 2;
            if (length < LENGTH_FOLLOWS)
                return FOR_AUTOBAHN;
        }
        if (length > limit)
            return FOR_AUTOBAHN;
        if (at + start + length > available)
            /* A violation is reported when it is seen, not when the frame is whole. */
            return kind_of_unfinished(frame + start, available - at - start, frame + start - MASK);
        payload = payload_of(frame + start, length, frame + start - MASK);
        if (payload == NULL)
            return PyErr_Occurred() ? -1 : FOR_AUTOBAHN;
        if (PyList_Append(payloads, payload) < 0) {
            Py_DECREF(payload);
            return -1;
        }
        Py_DECREF(payload);
        at += start + length;
    }
    return kind_of_beginning(data + at, available - at, limit);
}

PyDoc_STRVAR(split_doc, "split_text_frames(data, limit, most=ANY_COUNT, /)\n--\n\nThe same as split_in_python in frames.py.");

static PyObject *
split_text_frames(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    char *data;
    Py_ssize_t available, limit, most, position = 0;
    PyObject *payloads;
    int kind;

    if (count != 2 && count != 3) {
        PyErr_SetString(PyExc_TypeError, "split_text_frames takes data, limit and most");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(arguments[0], &data, &available) < 0)
        return NULL;
    limit = PyLong_AsSsize_t(arguments[1]);
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    most = count == 3 ? PyLong_AsSsize_t(arguments[2]) : PY_SSIZE_T_MAX;
    if (most == -1 && PyErr_Occurred())
        return NULL;
    payloads = PyList_New(0);
    if (payloads == NULL)
        return NULL;
    kind = split((const uint8_t *)data, available, limit ? limit : PY_SSIZE_T_MAX, most, payloads, &position);
    if (kind < 0) {
        Py_DECREF(payloads);
        return NULL;
    }
    return Py_BuildValue("(Nni)", payloads, position, kind);
}

static Py_ssize_t
header_size(Py_ssize_t length)
{
    return length < LENGTH_FOLLOWS ? 2 : length < 0x10000 ? 4 : 10;
}

/* Write the header of a text frame of a server; returns the place behind it. */
static char *
put_header(char *to, Py_ssize_t length)
{
    int shift;

    *to++ = (char)PLAIN_TEXT;
    if (length < LENGTH_FOLLOWS) {
        *to++ = (char)length;
        return to;
    }
    *to++ = length < 0x10000 ? LENGTH_FOLLOWS : LONG_LENGTH_FOLLOWS;
    for (shift = length < 0x10000 ? 8 : 56; shift >= 0; shift -= 8)
        *to++ = (char)((uint64_t)length >> shift);
    return to;
}

/* The parts of a message: of bytes one, of a pair two. Returns -1 with an exception. */
static int
parts_of(PyObject *message, int is_pair, char *parts[2], Py_ssize_t sizes[2])
{
    parts[1] = "";
    sizes[1] = 0;
    if (!is_pair)
        return PyBytes_AsStringAndSize(message, &parts[0], &sizes[0]);
    if (!PyTuple_Check(message) || PyTuple_Size(message) != 2) {
        PyErr_SetString(PyExc_TypeError, "an event is a tuple of prefix and body");
        return -1;
    }
    if (PyBytes_AsStringAndSize(PyTuple_GetItem(message, 0), &parts[0], &sizes[0]) < 0)
        return -1;
    return PyBytes_AsStringAndSize(PyTuple_GetItem(message, 1), &parts[1], &sizes[1]);
}

/* Take messages from an iterator to a list, until their frames are larger than the room, or a message is larger than largest: it is given back
 * apart. Returns the size of the frames, or -1 with an exception. */
static Py_ssize_t
take_messages(PyObject *iterator, int are_pairs, Py_ssize_t room, Py_ssize_t largest, PyObject *taken, PyObject **large)
{
    Py_ssize_t total = 0, length, sizes[2];
    char *parts[2];
    PyObject *message;

    do {
        message = PyIter_Next(iterator);
        if (message == NULL)
            return PyErr_Occurred() ? -1 : total;
        if (parts_of(message, are_pairs, parts, sizes) < 0) {
            Py_DECREF(message);
            return -1;
        }
        length = sizes[0] + sizes[1];
        if (length > largest) {
            *large = message;
            return total;
        }
        if (PyList_Append(taken, message) < 0) {
            Py_DECREF(message);
            return -1;
        }
        Py_DECREF(message);
        total += header_size(length) + length;
    } while (total <= room);
    return total;
}

/* The frames of messages in one bytes object. Their size is known. */
static PyObject *
join_frames(PyObject *messages, int are_pairs, Py_ssize_t total)
{
    PyObject *frames = PyBytes_FromStringAndSize(NULL, total);
    Py_ssize_t at, count = PyList_Size(messages), sizes[2];
    char *parts[2], *to;

    if (frames == NULL)
        return NULL;
    to = PyBytes_AsString(frames);
    for (at = 0; at < count; at++) {
        /* It cannot fail: take_messages has looked at the same messages. */
        parts_of(PyList_GetItem(messages, at), are_pairs, parts, sizes);
        to = put_header(to, sizes[0] + sizes[1]);
        memcpy(to, parts[0], sizes[0]);
        memcpy(to + sizes[0], parts[1], sizes[1]);
        to += sizes[0] + sizes[1];
    }
    return frames;
}

static PyObject *
make_frames(PyObject *const *arguments, Py_ssize_t count, int are_pairs)
{
    PyObject *taken, *frames = NULL, *large = NULL;
    Py_ssize_t room, largest, total;

    if (count != 3 || !PyIter_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "an iterator of messages, room and largest are needed");
        return NULL;
    }
    room = PyLong_AsSsize_t(arguments[1]);
    if (room == -1 && PyErr_Occurred())
        return NULL;
    largest = PyLong_AsSsize_t(arguments[2]);
    if (largest == -1 && PyErr_Occurred())
        return NULL;
    taken = PyList_New(0);
    if (taken == NULL)
        return NULL;
    total = take_messages(arguments[0], are_pairs, room, largest, taken, &large);
    if (total >= 0)
        frames = join_frames(taken, are_pairs, total);
    Py_DECREF(taken);
    if (frames == NULL) {
        Py_XDECREF(large);
        return NULL;
    }
    return large == NULL ? Py_BuildValue("(NO)", frames, Py_None) : Py_BuildValue("(NN)", frames, large);
}

PyDoc_STRVAR(text_frames_doc, "text_frames(payloads, room, largest, /)\n--\n\nThe same as text_frames_in_python in frames.py.");

static PyObject *
text_frames(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    return make_frames(arguments, count, 0);
}

PyDoc_STRVAR(event_frames_doc, "event_frames(events, room, largest, /)\n--\n\nThe same as event_frames_in_python in frames.py.");

static PyObject *
event_frames(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    return make_frames(arguments, count, 1);
}

static PyMethodDef methods[] = {
    {"split_text_frames", (PyCFunction)(void (*)(void))split_text_frames, METH_FASTCALL, split_doc},
    {"text_frames", (PyCFunction)(void (*)(void))text_frames, METH_FASTCALL, text_frames_doc},
    {"event_frames", (PyCFunction)(void (*)(void))event_frames, METH_FASTCALL, event_frames_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "dhtwisted.speedups", "WebSocket text frames in and out, in C.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_speedups(void)
{
    return PyModuleDef_Init(&module);
}
